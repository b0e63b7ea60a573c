"""RealNVP in the plane: a density that follows two moons, or another shape.

Source:   Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, arXiv:1605.08803.
Command:  vifx train experiments/realnvp_two_moons.py
          vifx train experiments/realnvp_two_moons.py --data.name checkerboard
Hardware: 2 CPU cores, about a minute.
Metric:   NLL 1.020 nats on the test points; the density that they are drawn from has 1.009.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import vifx
from vifx import data, flows
from vifx.experiment import Experiment, PositiveFloat, PositiveInt
from vifx.experiment import flows as experiment


@dataclass(frozen=True)
class Config(experiment.Config):
    """The options of this experiment."""

    steps: PositiveInt = 4000
    """How many updates to make."""
    log_every: PositiveInt = 200
    """Updates between two lines of metrics; also the length of one compiled scan."""
    learning_rate: PositiveFloat = 2e-3
    """Step size of Adam after the warm-up; it falls to 0 along a cosine."""
    depth: PositiveInt = 12
    """How many couplings."""
    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the hidden layers of each coupling's network."""
    data: data.Config = field(default_factory=lambda: data.Config("two_moons", batch_size=256))
    """Which shape (two_moons, circles, spirals, pinwheel, checkerboard, ring or grid25), and how it is read."""


def build(config: Config) -> Experiment:
    """Build the evidence and the flow, and what to measure and draw."""
    points = data.load(config.data)
    bijection = flows.chain(flows.actnorm(), flows.realnvp(depth=config.depth, hidden=config.hidden))
    inference = vifx.Joint(vifx.evidence("x"))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), bijection, name="flow"))
    return experiment.plane(config, points, inference, generative)
