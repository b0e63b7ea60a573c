"""Probabilistic PCA, or a mixture of it, on scikit-learn's 8×8 handwritten digits, by EM.

Source:   Tipping and Bishop (1999), Mixtures of probabilistic principal component analysers.
Command:  vifx train experiments/ppca_digits.py
Hardware: 2 CPU cores, about 2 minutes beside other work.
Metric:   log q(x) 14.29 nats on the test digits, of their pixels in units of a white pixel.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from vifx import data, em
from vifx.data import images
from vifx.evaluation import principal_directions
from vifx.evaluation.measure import both
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, em_model


@dataclass(frozen=True)
class Config(em_model.Config):
    """The options of this experiment."""

    steps: PositiveInt = 20
    """How many iterations of EM to make; one component is at its optimum after the first."""
    components: PositiveInt = 1
    """How many components; more are a mixture of probabilistic PCA."""
    latent: PositiveInt = 8
    """How many principal directions each component has."""
    features: Literal["pixels", "dequantized"] = "pixels"
    """What the model is of: the pixels, or the pixels dequantized, of which a density has bits per dimension."""
    floor: PositiveFloat = 1e-3
    """The least variance of the noise, in squared units of a white pixel."""
    data: data.Config = field(default_factory=lambda: data.Config("digits"))


def build(config: Config) -> Experiment:
    """Build probabilistic PCA of the pixels, and the experiment that EM makes of it."""
    digits = data.load(config.data)
    vectors = images.embedding(digits.train["x"], config.features)
    splits, restore = images.mapped(digits, vectors.project), vectors.restore

    def make(size: int) -> em.Model:
        return em.mixture(em.ppca, size, latent=config.latent, floor=config.floor)

    built = em_model.images(config, splits, digits.test["x"], vectors, make, config.components)
    model = make(config.components)
    drawings = {
        "directions": principal_directions.draw_directions(restore),
        "reconstructions": principal_directions.draw_explained(model, restore, splits.test),
    }
    if config.latent > 1:
        drawings["codes"] = principal_directions.draw_component_codes(model, splits.test)
    drawings |= built.drawings if config.components > 1 else {"samples": built.drawings["samples"]}
    evaluate = both(built.evaluate, principal_directions.measure_explained(model, splits.test))
    return dataclasses.replace(built, drawings=drawings, evaluate=evaluate)
