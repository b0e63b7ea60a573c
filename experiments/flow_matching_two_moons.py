"""Flow matching in the plane: a continuous flow of two moons, or another shape, that is trained without being solved.

Source:   Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, arXiv:2210.02747; Tong et
          al. (2024), Improving and generalizing flow-based generative models with minibatch optimal transport,
          arXiv:2302.00482.
Command:  vifx train experiments/flow_matching_two_moons.py
          vifx train flow_matching_two_moons --pairing optimal --data.name checkerboard
Hardware: 2 CPU cores, about a minute.
Metric:   NLL 1.023 nats on the test points; the density that they are drawn from has 1.010.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, networks
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, matched_flow


@dataclass(frozen=True)
class Config(matched_flow.Config):
    """The options of this experiment."""

    steps: PositiveInt = 6000
    log_every: PositiveInt = 200
    checkpoint_every: PositiveInt = 1000
    learning_rate: PositiveFloat = 2e-3
    hidden: tuple[PositiveInt, ...] = (128, 128, 128)
    """Widths of the hidden layers of the velocity."""
    data: data.Config = field(default_factory=lambda: data.Config("two_moons", batch_size=512))
    """Which shape (two_moons, circles, spirals, pinwheel, checkerboard, ring or grid25), and how it is read."""


def build(config: Config) -> Experiment:
    """Build the flow, the objective of its velocity, and what to measure and draw."""
    return matched_flow.points(config, networks.PointDenoiser(config.hidden))
