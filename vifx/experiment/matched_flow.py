"""Experiments with a continuous flow that is trained by flow matching: their options, and what is measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "draw_times", "images", "points"]

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vifx import data, diffusion, evaluation, flows, matching
from vifx.core.factor import transformed
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Array, Bijection, Key, Net, Params, PyTree, State
from vifx.data import Modes, Split
from vifx.distributions import standard_normal
from vifx.evaluation import DecodedImages, decoded_images, known_law
from vifx.evaluation.measure import Drawing, Measure
from vifx.experiment import density_flow
from vifx.experiment.file import Experiment
from vifx.experiment.rules import PositiveFloat, PositiveInt
from vifx.matching import flow_matching

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
            "density": evaluation.draw_density(flow, lambda _: splits.test["x"][:4000], title=title),
            "pushforward": evaluation.draw_pushforward(flow, title=title),
        }
        if law is not None and config.path == "linear":
            found["times"] = draw_times(bijection, law, splits.train, title=title)
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
            "interpolation": decoded_images.draw_straight_lines(flow, few, shades=shades, rows=min(8, len(few["x"]) // 2)),
        },
        shades=shades,
        objective=partial(_objective, config, config.pairing),
        monitor=monitor,
    )
    return dataclasses.replace(built, sample=DecodedImages(built.generative, evaluation.unscaled(0.0, 1.0)).sample)


def draw_times(
    bijection: Bijection,
    law: Modes,
    split: Split,
    *,
    times: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8),
    title: str = "",
) -> Drawing:
    """Draw the densities of points of the plane on the straight way to noise: the law's own, and the flow's.

    The law is a mixture of Gaussians, and so is that of ``(1 − t) x + t ε``.

    Args:
      bijection: a continuous flow of the data, of the network ``"flow"``.
      law: of the data.
      split: data ``x``, around which the densities are drawn.
      times: in [0, 1).
      title: above, on the left.
    """
    x = np.asarray(split["x"])
    noise = np.random.default_rng(0).standard_normal(x.shape)

    def density_at(time: float) -> tuple[Any, Any, Any]:
        spread = np.sqrt(((1 - time) * law.scale) ** 2 + time**2)
        exact = Modes((1 - time) * law.centres, spread, law.weights)
        joint = Joint(transformed("x", standard_normal(2), _rest(bijection, time), name="flow"))

        @jax.jit
        def model(params: Params, state: State, z: Array) -> Array:
            return joint.log_prob(params, state, {"x": z})["x"]

        return exact.log_prob, model, (1 - time) * x + time * noise

    columns = [density_at(time) for time in times]

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        return evaluation.density_pairs_2d(
            [exact for exact, _, _ in columns],
            [partial(model, params, state) for _, model, _ in columns],
            [each for _, _, each in columns],
            labels=[f"t = {time:g}" for time in times],
            names=("data with noise", "the flow"),
            title=title,
        )

    return draw


def _continuous(config: Config, network: Any, trace: str) -> Bijection:
    return flows.continuous(config.net(network), steps=config.flow_steps, method=config.method, trace=trace)


def _objective(
    config: Config, pairing: Literal["independent", "optimal"], inference: Joint, generative: Joint
) -> Objective:
    paths = {"linear": matching.linear, "cosine": lambda: matching.scheduled(diffusion.cosine(end=9.0))}
    weighting = matching.logit_normal() if config.weighting == "logit_normal" else None
    return flow_matching(inference, generative, path=paths[config.path](), pairing=pairing, weighting=weighting)


def _rest(bijection: Bijection, begin: float) -> Bijection:
    """Return the flow from a time on, which has the density of what it has become by then."""
    own: Any = bijection.velocity

    def apply(params: PyTree, state: PyTree, x: Array, t: Array, **mode: Any) -> tuple[Array, PyTree]:
        moving, state = own.field(params, state, x, begin + (1 - begin) * t[:, 0], None, **mode)
        return (1 - begin) * moving, state

    return flows.continuous(Net(lambda key, x, t: bijection.init(key, x), apply), steps=16)


def _log_two(x: Array) -> Array:
    return jnp.full_like(x, math.log(2))
