"""Masked autoregressive flow on scikit-learn's 8×8 handwritten digits.

Source:   Papamakarios, Pavlakou and Murray (2017), Masked autoregressive flow, arXiv:1705.07057.
Command:  vifx train experiments/maf_digits.py
Hardware: 2 CPU cores, about half a minute.
Metric:   2.13 bits/dim on the test digits, in 17 shades of grey; a Gaussian on the logits has 2.27.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import vifx
from vifx import data, flows
from vifx.experiment import Experiment, PositiveFloat, PositiveInt
from vifx.experiment import flows as experiment


@dataclass(frozen=True)
class Config(experiment.Config):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    """How many updates to make; with 1,300 digits, more of them overfit."""
    checkpoint_every: PositiveInt = 100
    """Updates between two checkpoints, the best of which is measured and drawn."""
    evaluate_every: PositiveInt | None = 100
    """Updates between two evaluations on the validation split; the best is kept."""
    depth: PositiveInt = 5
    """How many autoregressive layers."""
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the hidden layers of each layer's masked network."""
    alpha: PositiveFloat = 0.01
    """Pixels are moved into [α, 1 − α] before their logits are taken."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the evidence and the flow, and what to measure and draw."""
    digits = data.load(config.data)
    layers = flows.maf(depth=config.depth, hidden=config.hidden)
    bijection = flows.chain(flows.logit(alpha=config.alpha), flows.flatten(), flows.actnorm(), layers)
    base = vifx.standard_normal(math.prod(digits.info.shape))
    inference = vifx.Joint(vifx.evidence("x"))
    generative = vifx.Joint(vifx.transformed("x", base, bijection, name="flow"))
    return experiment.images(config, digits, inference, generative, shades=17, alpha=config.alpha)
