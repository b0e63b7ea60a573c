"""RealNVP in the plane: a density that follows two moons, or another shape.

Source:   Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, arXiv:1605.08803.
Command:  vifx train experiments/realnvp_two_moons.py
          vifx train experiments/realnvp_two_moons.py --data.name checkerboard
Hardware: 2 CPU cores, about a minute.
Metric:   NLL 1.020 nats on the test points; the density that they are drawn from has 1.010.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, evaluation, flows
from vifx.evaluation import known_law
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, density_flow


@dataclass(frozen=True)
class Config(density_flow.Config):
    """The options of this experiment."""

    steps: PositiveInt = 4000
    log_every: PositiveInt = 200
    learning_rate: PositiveFloat = 2e-3
    depth: PositiveInt = 12
    """How many couplings."""
    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the hidden layers of each coupling's network."""
    data: data.Config = field(default_factory=lambda: data.Config("two_moons", batch_size=256))
    """Which shape (two_moons, circles, spirals, pinwheel, checkerboard, ring or grid25), and how it is read."""


def build(config: Config) -> Experiment:
    """Build the flow, and the experiment of its likelihood."""
    points = data.load(config.data)
    bijection = flows.chain(
        flows.actnorm(), flows.realnvp(depth=config.depth, hidden=config.hidden, remat=config.remat)
    )
    title = config.data.name.replace("_", " ")
    return density_flow.experiment(
        config,
        points,
        bijection,
        evaluate=lambda flow: known_law.measure_against_law(
            evaluation.measure_likelihood(flow, points.test), data.law(config.data.name), points.test, metric="nll/x"
        ),
        drawings=lambda flow: {
            "density": evaluation.draw_density(flow, lambda _: points.test["x"][:4000], title=title),
            "pushforward": evaluation.draw_pushforward(flow, title=title),
        },
    )
