"""Variational inference by a flow: the reverse KL to a density that is known up to a constant.

Source:   Rezende and Mohamed (2015), Variational inference with normalizing flows, arXiv:1505.05770.
Command:  vifx train experiments/flow_posterior_target.py
          vifx train experiments/flow_posterior_target.py --target wave --family planar
Hardware: 2 CPU cores, about a minute.
Metric:   log evidence 1.878 nats and effective share 0.993; the quadrature of the target is 1.8775 nats. Seeds 3
          and 4 have a share of 0.994; with 4 layers and 256 draws, seeds 0 to 3 have between 0.01 and 0.99.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import optax

import vifx
from vifx import data, flows, training
from vifx.evaluation import planar_targets
from vifx.evaluation.planar_targets import TARGETS
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment; it has no data, so the options of `data` do nothing."""

    steps: PositiveInt = 4000
    log_every: PositiveInt = 200
    target: Literal["two_rings", "wave", "banana"] = "two_rings"
    """Which density is fitted."""
    family: Literal["spline", "realnvp", "planar"] = "spline"
    """Which flow fits it."""
    depth: PositiveInt = 8
    """Layers of the flow."""
    samples: PositiveInt = 512
    """Draws of the flow in an update."""
    learning_rate: PositiveFloat = 2e-3
    """Step size of Adam, which falls to 0 along a cosine."""


def build(config: Config) -> Experiment:
    """Build the flow and the target, KL(flow ‖ target), and what to measure and draw."""
    config.data.require_resident("there is no evidence, and nothing to stream")
    density = TARGETS[config.target]
    bijection = {
        "spline": lambda: flows.chain(
            flows.scale(shift=True), flows.spline(depth=config.depth, bound=4.0, remat=config.remat)
        ),
        "realnvp": lambda: flows.realnvp(config.depth, remat=config.remat),
        "planar": lambda: flows.invert(flows.stack(flows.planar(), config.depth)),
    }[config.family]()
    inference = vifx.Joint(vifx.transformed("z", vifx.standard_normal(2), bijection, name="flow"))
    generative = vifx.Joint(vifx.target("z", density))
    objective = vifx.kl(inference, generative, samples=config.samples)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate))),
        source=data.Unobserved(),
        splits=None,
        inference=inference,
        generative=generative,
        evaluate=planar_targets.measure_target(inference, generative, density),
        drawings={"density": planar_targets.draw_target(inference, density, title=config.target.replace("_", " "))},
    )
