"""Bernoulli mixture on binarized 8×8 handwritten digits, by EM.

Source:   Bishop (2006), Pattern Recognition and Machine Learning, section 9.3.3.
Command:  vifx train experiments/bernoulli_mixture_digits.py
Hardware: 2 CPU cores, about 40 seconds.
Metric:   log q(x) −22.99 nats on the test digits, each pixel binarized once with its grey as the probability.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vifx import data, em
from vifx.experiment import Experiment, NonNegativeFloat, PositiveInt, components, pixels
from vifx.experiment import mixtures as experiment


@dataclass(frozen=True)
class Config(experiment.Config):
    """The options of this experiment."""

    components: PositiveInt = 20
    """How many components."""
    start: Literal["k-means", "k-means++", "random"] = "random"
    """How EM starts; clusters by distance would be of rare pixels."""
    pseudo_counts: NonNegativeFloat = 0.1
    """Added to the counts of ones and of zeros of each pixel: a Beta prior; 0 is maximum likelihood."""
    components_tried: tuple[PositiveInt, ...] = (5, 10, 20, 40, 80)
    """Numbers of components to compare by the Bayesian information criterion."""
    data: data.Config = field(default_factory=lambda: data.Config("digits"))
    """Which data set of grey images, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the mixture of binary images, and what to measure and draw."""
    grey = data.load(config.data)
    splits = pixels.binarized(grey)
    vectors = pixels.Pixels(grey.info.shape)

    def make(size: int) -> em.Model:
        return em.mixture(em.bernoulli, size, pseudo_counts=config.pseudo_counts)

    model, others = make(config.components), experiment.tried(config, make, splits)
    drawings = components.drawings(model, vectors.restore, splits, grey.test["x"], others=others)
    sample = components.sampler(model, vectors.restore)
    return experiment.fitted_by_em(config, model, splits, drawings=drawings, sample=sample, others=others)
