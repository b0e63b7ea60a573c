"""Spline flow on scikit-learn's 8×8 handwritten digits.

Source:   Durkan, Bekasov, Murray and Papamakarios (2019), Neural spline flows, arXiv:1906.04032.
Command:  vifx train experiments/spline_digits.py
Hardware: 2 CPU cores, about a minute.
Metric:   1.93 bits/dim on the test digits, in 17 shades of grey; a Gaussian on the logits has 2.27.
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
    depth: PositiveInt = 8
    """How many couplings."""
    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the hidden layers of each coupling's network."""
    bins: PositiveInt = 8
    """Intervals of a spline."""
    bound: PositiveFloat = 4.0
    """Splines act on [−bound, bound]."""
    alpha: PositiveFloat = 0.01
    """Pixels are moved into [α, 1 − α] before their logits are taken."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the evidence and the flow, and what to measure and draw."""
    digits = data.load(config.data)
    couplings = flows.spline(depth=config.depth, hidden=config.hidden, bins=config.bins, bound=config.bound)
    bijection = flows.chain(
        flows.logit(alpha=config.alpha), flows.flatten(), flows.actnorm(), flows.shuffle(), couplings
    )
    base = vifx.standard_normal(math.prod(digits.info.shape))
    inference = vifx.Joint(vifx.evidence("x"))
    generative = vifx.Joint(vifx.transformed("x", base, bijection, name="flow"))
    return experiment.images(config, digits, inference, generative, shades=17, alpha=config.alpha)
