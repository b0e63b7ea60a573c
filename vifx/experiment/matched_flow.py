"""Experiments with a continuous flow trained by flow matching: their options, and what is measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "images", "points"]

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp

from vifx import data, diffusion, evaluation, flows, matching
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Array, Bijection
from vifx.evaluation import DecodedImages, decoded_images, known_law
from vifx.evaluation.measure import Drawing, Measure
from vifx.experiment import density_flow
from vifx.experiment.file import Experiment
from vifx.experiment.rules import PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Config(density_flow.Config):
    """The options that experiments with flow matching have in common."""

    clip: PositiveFloat = 1.0
    """The largest norm of a gradient; longer ones are scaled down to it."""
    decay: PositiveFloat = 0.999
    """Of the average of the parameters, which is what is measured and drawn."""
    path: Literal["linear", "cosine"] = "linear"
    """From data to noise: a straight line, or the diffusion that preserves the variance by a cosine."""
    pairing: Literal["independent", "optimal"] = "independent"
    """Which noise an example goes to: any, or the one of the optimal transport within the minibatch."""
    weighting: Literal["equal", "logit_normal"] = "equal"
    """Of the times: equal, or the logit-normal density, which is large in the middle."""
    method: Literal["rk4", "heun", "midpoint", "euler"] = "rk4"
    """By which the flow is solved for likelihoods and samples."""
    flow_steps: PositiveInt = 24
    """Its steps."""


def points(config: Config, network: Any) -> Experiment:
    """Return the experiment of a flow of points of the plane, which are drawn from a law that may be known.

    Args:
      network: the velocity, called as `flows.continuous` says.
    """
    splits, law = data.load(config.data), data.law(config.data.name)
    title = config.data.name.replace("_", " ")
    bijection = _continuous(config, network, "exact")

    def measure(flow: Joint) -> Measure:
        own = evaluation.measure_likelihood(flow, splits.test)
        return known_law.measure_against_law(own, law, splits.test, metric="nll/x")

    def drawings(flow: Joint) -> dict[str, Drawing]:
        found = {
            "density": evaluation.draw_density(flow, lambda _: splits.test["x"][:4000], title=title, resolution=120),
            "pushforward": evaluation.draw_pushforward(flow, title=title),
        }
        if law is not None and config.path == "linear":
            found["times"] = evaluation.draw_flow_times(flow, law, splits.train, title=title)
        return found

    few = {name: array[:1000] for name, array in splits.validation.items()}
    return density_flow.experiment(
        config,
        splits,
        bijection,
        evaluate=measure,
        drawings=drawings,
        objective=partial(_objective, config, config.pairing),
        monitor=lambda _, flow: evaluation.monitor_likelihood(flow, few),
    )


def images(config: Config, network: Any, *, examples: int) -> Experiment:
    """Return the experiment of a flow of dequantized 8-bit images, in as many shades of grey as they have.

    The velocity sees pixels in [−1, 1]. The trace is Hutchinson's estimate, whose mean is exact, and likelihoods are
    measured on the first examples of the test split alone, since each takes the network some hundred times.

    Args:
      network: the velocity, called as `flows.continuous` says.
      examples: of the test split.
    """
    splits = data.load(config.data)
    shades = data.shades_of(splits.train)
    centred = flows.pointwise("centred", lambda x: 2 * x - 1, lambda z: (z + 1) / 2, log_slope=_log_two)
    bijection = flows.chain(centred, _continuous(config, network, "hutchinson"), flows.flatten())
    few = {name: array[:examples] for name, array in splits.test.items()}
    transform = data.dequantize(shades=shades)

    def monitor(inference: Joint, flow: Joint) -> Measure:
        # Examples are measured one by one, so that there is nothing to transport.
        objective = _objective(config, "independent", inference, flow)
        return evaluation.monitor_loss(objective, splits.validation, transform=transform)

    built = density_flow.experiment(
        config,
        splits,
        bijection,
        evaluate=lambda flow: evaluation.measure_likelihood(flow, few, shades=shades, draws=config.dequantizations),
        drawings=lambda flow: {
            **DecodedImages(flow, evaluation.unscaled(0.0, 1.0)).drawings("samples"),
            "interpolation": decoded_images.draw_straight_lines(
                flow, few, shades=shades, rows=min(8, len(few["x"]) // 2)
            ),
        },
        shades=shades,
        objective=partial(_objective, config, config.pairing),
        monitor=monitor,
    )
    return dataclasses.replace(built, sample=DecodedImages(built.generative, evaluation.unscaled(0.0, 1.0)).sample)


def _continuous(config: Config, network: Any, trace: str) -> Bijection:
    return flows.continuous(config.net(network), steps=config.flow_steps, method=config.method, trace=trace)


def _objective(
    config: Config, pairing: Literal["independent", "optimal"], inference: Joint, generative: Joint
) -> Objective:
    paths = {"linear": matching.linear, "cosine": lambda: matching.scheduled(diffusion.cosine(end=9.0))}
    weighting = matching.logit_normal() if config.weighting == "logit_normal" else None
    return matching.flow_matching(
        inference, generative, path=paths[config.path](), pairing=pairing, weighting=weighting
    )


def _log_two(x: Array) -> Array:
    return jnp.full_like(x, math.log(2))
