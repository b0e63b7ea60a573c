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
from vifx.data import images
from vifx.experiment import Experiment, NonNegativeFloat, PositiveInt, em_model


@dataclass(frozen=True)
class Config(em_model.Config):
    """The options of this experiment."""

    components: PositiveInt = 20
    """How many components."""
    start: Literal["k-means", "k-means++", "random"] = "random"
    """How EM starts; clusters by distance would be of rare pixels."""
    pseudo_counts: NonNegativeFloat = 0.1
    """Added to the counts of ones and of zeros of each pixel: a Beta prior; 0 is maximum likelihood."""
    components_tried: tuple[PositiveInt, ...] = (5, 10, 20, 40, 80)
    data: data.Config = field(default_factory=lambda: data.Config("digits"))
    """Which data set of grey images, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the mixture of binary images, and the experiment that EM makes of it."""
    grey = data.load(config.data)
    splits, pixels = images.binarized(grey), images.Pixels(grey.info.shape)

    def make(size: int) -> em.Model:
        return em.mixture(em.bernoulli, size, prior=em.Beta(1 + config.pseudo_counts, 1 + config.pseudo_counts))

    return em_model.images(config, splits, grey.test["x"], pixels, make, config.components)
