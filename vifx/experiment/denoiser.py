"""Experiments with a diffusion: their options, the two joints, and what is measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "Diffusion", "diffusion_of", "draw_levels", "experiment", "measure_both"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx import data, diffusion, evaluation
from vifx.core.factor import evidence, factor, transformed
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Net, Params, State
from vifx.data import Dataset, Split
from vifx.diffusion import NoiseSchedule, StepWeights
from vifx.distributions import standard_normal
from vifx.evaluation import DecodedImages
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure
from vifx.experiment import averaged_adam
from vifx.experiment.file import Experiment
from vifx.experiment.rules import PositiveFloat, PositiveInt
from vifx.variational import kl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Config(averaged_adam.Config):
    """The options that experiments with a diffusion have in common."""

    clip: PositiveFloat = 1.0
    """The largest norm of a gradient; longer ones are scaled down to it."""
    decay: PositiveFloat = 0.999
    """Of the average of the parameters, which is what is measured and drawn."""
    schedule: Literal["linear_log_snr", "cosine", "learned"] = "linear_log_snr"
    """How the noise grows: by equal factors, of which the bound's estimate varies least; as a cosine; or learned."""
    chain_steps: PositiveInt | None = None
    """Steps T of the two chains (None: continuous time)."""
    predicts: Literal["noise", "data", "v"] = "v"
    """What the denoiser returns."""
    weighting: Literal["bound", "simple", "min_snr", "sigmoid"] = "bound"
    """Of the steps in training; the bound is reported in any case."""
    sampler_steps: PositiveInt = 64
    """Steps of the samples, in continuous time by Heun's method."""
    bound_times: PositiveInt = 16
    """Times of each test example, over which its bound is averaged."""
    flow_examples: PositiveInt | None = None
    """Test examples for the likelihood of the probability flow, which takes most of the evaluation (None: all)."""
    flow_steps: PositiveInt = 48
    """Steps of the flow's differential equation."""


class Diffusion(NamedTuple):
    """The joints of one denoiser.

    Attributes:
      inference: evidence and forward chain.
      generative: reverse chain and decoder.
      first: evidence and z_0.
      flow: the probability flow, a density of z_0, and decoder.
      reverse: the network of the reverse chain.
      schedule: γ(t).
    """

    inference: Joint
    generative: Joint
    first: Joint
    flow: Joint
    reverse: Net
    schedule: NoiseSchedule


def diffusion_of(
    config: Config, network: Any, shape: tuple[int, ...], *, images: bool, start: float, end: float = 5.0
) -> Diffusion:
    """Return the joints of a denoiser of images, uint8, or of real values.

    Args:
      network: called as `vifx.diffusion.reverse` says.
      shape: of one value.
      start: γ at the data, log σ²/α².
      end: γ at the prior.
    """
    makers: dict[str, Callable[..., NoiseSchedule]] = {
        "cosine": diffusion.cosine,
        "linear_log_snr": diffusion.linear_log_snr,
        "learned": diffusion.learned,
    }
    weights: dict[str, StepWeights | None] = {
        "bound": None,
        "simple": diffusion.simple(),
        "min_snr": diffusion.min_snr(),
        "sigmoid": diffusion.sigmoid(),
    }
    schedule = makers[config.schedule](start=start, end=end)
    sampler = None if config.chain_steps else diffusion.heun(steps=config.sampler_steps)
    reverse = diffusion.reverse(
        config.net(network),
        schedule,
        shape,
        steps=config.chain_steps,
        predicts=config.predicts,
        weighting=weights[config.weighting],
        sampler=sampler,
    )
    forward = diffusion.forward(schedule, steps=config.chain_steps)
    decoder = diffusion.shades if images else diffusion.normal
    trace = "exact" if math.prod(shape) <= 4 else "hutchinson"
    flow = diffusion.flow(reverse, schedule, steps=config.flow_steps, trace=trace)
    return Diffusion(
        Joint(evidence("x"), factor("z | x", forward)),
        Joint(factor("z", reverse, name="denoiser"), factor("x | z", decoder(schedule))),
        Joint(evidence("x"), factor("z | x", diffusion.first(schedule))),
        Joint(
            transformed("z", standard_normal(*shape), flow, name="denoiser"),
            factor("x | z", decoder(schedule, path=False)),
        ),
        reverse,
        schedule,
    )


def experiment(
    config: Config,
    splits: Dataset,
    joints: Diffusion,
    *,
    drawings: Mapping[str, Drawing] | None = None,
) -> Experiment:
    """Return the experiment: Adam on KL(inference ‖ generative), and both numbers of the test split.

    Args:
      splits: images ``x``, uint8, or real values.
      drawings: by name; the samples, of images, by default.
    """
    inference, generative, *_ = joints
    objective = kl(inference, generative)
    images = DecodedImages(generative, evaluation.unscaled(0.0, 255.0)) if len(splits.info.shape) == 3 else None
    own = images.drawings("samples") if images else {}
    return Experiment(
        objective=objective,
        step=averaged_adam.trainer(objective, config),
        source=data.source(splits.train, config.data, seed=config.seed),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=evaluation.monitor_loss(objective, splits.validation),
        evaluate=measure_both(config, joints, splits.test),
        drawings={**own, **(drawings or {})},
        sample=images.sample if images else None,
        best="-validation/elbo",
    )


def measure_both(config: Config, joints: Diffusion, split: Split) -> Measure:
    """Measure the bound of the chains and that of the probability flow, of one denoiser.

    ``elbo`` and its terms are in nats, each example at `bound_times` times of its own; ``flow/elbo`` is that of
    ``p(z_0 | x)`` and the flow's exact density of z_0. Of images both are in bits per dimension too.

    Args:
      split: usually the test split.
    """
    few = {name: array[: config.flow_examples] for name, array in split.items()}
    shape = split["x"].shape[1:]

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        keys = [jax.random.fold_in(key, index) for index in range(config.bound_times)]
        draws = [evaluation.elbo(own, joints.inference, joints.generative, params, state, split) for own in keys]
        found = {
            name: Estimate(np.mean([draw[name].values for draw in draws], axis=0), weights=draws[0][name].weights)
            for name in draws[0]
            if name != "loss"
        }
        exact = evaluation.elbo(key, joints.first, joints.flow, params, state, few)["elbo"]
        found["flow/elbo"] = exact.noted("lower bound on log-likelihood, by the exact flow", digits=3)
        if len(shape) < 3:
            return found
        for name, of in (("bits_per_dim", "elbo"), ("flow/bits_per_dim", "flow/elbo")):
            what = "upper bound, by the chains" if of == "elbo" else "upper bound, by the flow"
            bits = evaluation.bits_per_dim(-np.asarray(found[of].values), shape)
            found[name] = Estimate(bits, weights=found[of].weights).noted(what, digits=3)
        return found

    return measure


def draw_levels(
    joints: Diffusion, split: Split, *, levels: Sequence[float] = (0.15, 0.35, 0.55, 0.75), title: str = ""
) -> Drawing:
    """Draw the densities of points of the plane with more and more noise: the data's own, and the denoiser's flow.

    The law of n data with noise is known: ``(1/n) Σ_i N(α x_i, σ² I)``.

    Args:
      split: the data ``x``.
      levels: between γ(0) and γ(1), from 0 to 1.
      title: above, on the left.
    """
    x = np.asarray(split["x"])
    schedule = joints.schedule

    def density_at(level: float) -> tuple[Any, Any, Any]:
        gamma = schedule.start + level * (schedule.end - schedule.start)
        at = schedule.at_gamma(jnp.asarray(gamma, jnp.float32))
        flow = diffusion.flow(joints.reverse, schedule, level=level, steps=16)
        joint = Joint(transformed("z", standard_normal(2), flow, name="denoiser"))

        @jax.jit
        def exact(z: Array) -> Array:
            def alone(z: Array) -> Array:
                return jax.nn.logsumexp(-jnp.sum((z[None] - at.alpha * x) ** 2, axis=1) / (2 * at.sigma**2))

            found = jax.lax.map(alone, z, batch_size=128)
            return found - math.log(2 * math.pi * len(x)) - 2 * jnp.log(at.sigma)

        @jax.jit
        def model(params: Params, state: State, z: Array) -> Array:
            return joint.log_prob(params, state, {"z": z})["z"]

        noise = np.random.default_rng(0).standard_normal(x.shape)
        return exact, model, float(at.alpha) * x + float(at.sigma) * noise

    columns = [density_at(level) for level in levels]

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        return evaluation.density_pairs_2d(
            [exact for exact, _, _ in columns],
            [partial(model, params, state) for _, model, _ in columns],
            [points for _, _, points in columns],
            labels=[f"noise level {level:g}" for level in levels],
            names=("data with noise", "the denoiser's flow"),
            title=title,
        )

    return draw
