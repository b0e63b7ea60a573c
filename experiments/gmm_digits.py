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
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, components, pixels
from vifx.experiment import mixtures as experiment


@dataclass(frozen=True)
class Config(experiment.Config):
    """The options of this experiment."""

    components: PositiveInt = 10
    """How many components."""
    covariance: Literal["full", "tied", "diagonal", "spherical"] = "full"
    """Which covariances the components have: each its own, one for all, diagonal, or one variance."""
    features: PositiveInt | None = 16
    """How many principal components of the pixels the model is of (None: of the pixels themselves)."""
    floor: PositiveFloat = 1e-4
    """The least variance in any direction, in squared units of a white pixel."""
    components_tried: tuple[PositiveInt, ...] = (2, 5, 10, 20, 40)
    """Numbers of components to compare by the Bayesian information criterion."""
    data: data.Config = field(default_factory=lambda: data.Config("digits"))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the mixture on features of the images, and what to measure and draw."""
    digits = data.load(config.data)
    features = pixels.embedding(digits.train["x"], config.features)
    splits = pixels.mapped(digits, features.project)

    def make(size: int) -> em.Model:
        return em.mixture(em.gaussian, size, covariance=config.covariance, floor=config.floor)

    model, others = make(config.components), experiment.tried(config, make, splits)
    drawings = components.drawings(model, features.restore, splits, digits.test["x"], others=others)
    sample = components.sampler(model, features.restore)
    return experiment.fitted_by_em(config, model, splits, drawings=drawings, sample=sample, others=others)
