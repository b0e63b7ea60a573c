"""Block neural autoregressive flow in the plane: each coordinate by a monotone network of its own.

Source:   De Cao, Titov and Aziz (2019), Block Neural Autoregressive Flow, arXiv:1904.04676.
Command:  vifx train experiments/bnaf_two_moons.py
          vifx train experiments/bnaf_two_moons.py --data.name spirals
Hardware: 2 CPU cores, about a minute.
Metric:   NLL 1.060 nats on the test points; the density that they are drawn from has 1.010.
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
    learning_rate: PositiveFloat = 1e-2
    depth: PositiveInt = 4
    """How many layers, whose order of the coordinates is reversed from each to the next."""
    hidden: tuple[PositiveInt, ...] = (16, 16)
    """How many hidden units a coordinate has in each hidden layer of a layer's network."""
    data: data.Config = field(default_factory=lambda: data.Config("two_moons", batch_size=256))
    """Which shape (two_moons, circles, spirals, pinwheel, checkerboard, ring or grid25), and how it is read."""


def build(config: Config) -> Experiment:
    """Build the flow, and the experiment of its likelihood."""
    points = data.load(config.data)
    layers = flows.bnaf(depth=config.depth, hidden=config.hidden, remat=config.remat)
    title = config.data.name.replace("_", " ")
    return density_flow.experiment(
        config,
        points,
        flows.chain(flows.actnorm(), layers),
        evaluate=lambda flow: known_law.measure_against_law(
            evaluation.measure_likelihood(flow, points.test), data.law(config.data.name), points.test, metric="nll/x"
        ),
        drawings=lambda flow: {
            "density": evaluation.draw_density(flow, lambda _: points.test["x"][:4000], title=title),
            "pushforward": evaluation.draw_pushforward(flow, title=title),
        },
    )
