"""Probabilistic PCA, or a mixture of it, on scikit-learn's 8×8 handwritten digits, by EM.

Source:   Tipping and Bishop (1999), Mixtures of probabilistic principal component analysers.
Command:  vifx train experiments/ppca_digits.py
Hardware: 2 CPU cores, about 2 minutes beside other work.
Metric:   log q(x) 14.29 nats on the test digits, of their pixels in units of a white pixel.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from vifx import data, em
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, components, latents, pixels
from vifx.experiment import mixtures as experiment


@dataclass(frozen=True)
class Config(experiment.Config):
    """The options of this experiment."""

    steps: PositiveInt = 20
    """How many iterations of EM to make; one component is at its optimum after the first."""
    components: PositiveInt = 1
    """How many components; more are a mixture of probabilistic PCA."""
    latent: PositiveInt = 8
    """How many principal directions each component has."""
    floor: PositiveFloat = 1e-3
    """The least variance of the noise, in squared units of a white pixel."""
    data: data.Config = field(default_factory=lambda: data.Config("digits"))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build probabilistic PCA of the pixels, and what to measure and draw."""
    digits = data.load(config.data)
    vectors = pixels.Pixels(digits.info.shape)
    splits = pixels.mapped(digits, vectors.project)

    def make(size: int) -> em.Model:
        return em.mixture(em.ppca, size, latent=config.latent, floor=config.floor)

    model, others = make(config.components), experiment.tried(config, make, splits)
    drawings = {
        "directions": latents.draw_directions(vectors.restore),
        "reconstructions": latents.draw_reconstructions(model, vectors.restore, splits.test),
    }
    if config.latent > 1:
        drawings["codes"] = latents.draw_codes(model, splits.test)
    if config.components > 1:
        drawings |= components.drawings(model, vectors.restore, splits, digits.test["x"], others=others)
    else:
        drawings["samples"] = components.draw_samples(model, vectors.restore)
    sample = components.sampler(model, vectors.restore)
    built = experiment.fitted_by_em(config, model, splits, drawings=drawings, sample=sample, others=others)
    return dataclasses.replace(
        built, evaluate=experiment.both(built.evaluate, latents.reconstruction_error(model, splits.test))
    )
