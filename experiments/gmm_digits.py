"""Gaussian mixture on scikit-learn's 8×8 handwritten digits, by EM.

Source:   Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
Command:  vifx train experiments/gmm_digits.py
Hardware: 2 CPU cores, about a minute.
Metric:   log q(x) −3.09 nats on the test digits, of their 16 leading principal components in units of a white pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vifx import data, em
from vifx.data import images
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, em_model


@dataclass(frozen=True)
class Config(em_model.Config):
    """The options of this experiment."""

    components: PositiveInt = 10
    """How many components."""
    covariance: Literal["full", "tied", "diagonal", "spherical"] = "full"
    """Which covariances the components have: each its own, one for all, diagonal, or one variance."""
    features: PositiveInt | Literal["pixels", "dequantized"] = 16
    """What the model is of: so many principal components, the pixels, or the pixels dequantized, of which
    a density has bits per dimension."""
    floor: PositiveFloat = 1e-4
    """The least variance in any direction, in squared units of a white pixel."""
    components_tried: tuple[PositiveInt, ...] = (2, 5, 10, 20, 40)
    data: data.Config = field(default_factory=lambda: data.Config("digits"))


def build(config: Config) -> Experiment:
    """Build the mixture on features of the images, and the experiment that EM makes of it."""
    digits = data.load(config.data)
    features = images.embedding(digits.train["x"], config.features)
    splits = images.mapped(digits, features.project)

    def make(size: int) -> em.Model:
        return em.mixture(em.gaussian, size, covariance=config.covariance, floor=config.floor)

    return em_model.images(config, splits, digits.test["x"], features, make, config.components)
