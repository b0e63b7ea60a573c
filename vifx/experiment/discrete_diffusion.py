"""Experiments with a diffusion of categorical data: their options, the two joints, and what is measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "DiscreteDiffusion", "discrete_diffusion_of", "draw_paths", "experiment", "measure_bits"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from vifx import data, diffusion, evaluation
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Net, Params, State
from vifx.data import Dataset, Split
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure
from vifx.experiment import averaged_adam
from vifx.experiment.file import Experiment
from vifx.experiment.rules import NonNegativeFloat, PositiveFloat, PositiveInt
from vifx.variational import kl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Config(averaged_adam.Config):
    """The options that experiments with a diffusion of categorical data have in common."""

    clip: PositiveFloat = 1.0
    """The largest norm of a gradient; longer ones are scaled down to it."""
    noise: Literal["absorbing", "uniform"] = "absorbing"
    """What replaces the elements: a mask, or any of their values."""
    survival: Literal["linear", "cosine", "quadratic"] = "linear"
    """How the share of elements that are left falls with time."""
    chain_steps: PositiveInt | None = None
    """Steps T of the two chains (None: continuous time)."""
    features: PositiveInt = 96
    """Numbers per element in the transformer."""
    depth: PositiveInt = 4
    """Blocks of the transformer."""
    heads: PositiveInt = 4
    """Heads of its attention."""
    dropout: NonNegativeFloat = 0.0
    """Of what a block adds, in training."""
    sampler_steps: PositiveInt = 64
    """Steps of the samples, in continuous time."""
    bound_times: PositiveInt = 16
    """Times of each test example, over which its bound is averaged."""


class DiscreteDiffusion(NamedTuple):
    """The joints of one network.

    Attributes:
      inference: evidence and forward chain.
      generative: reverse chain and decoder.
      path: the reverse chain in `sampler_steps` steps, with every point of its path.
      noise: what replaces the elements.
    """

    inference: Joint
    generative: Joint
    path: Joint
    noise: diffusion.Corruption


def discrete_diffusion_of(
    config: Config, network: Any, shape: tuple[int, ...], *, classes: int, images: bool = False
) -> DiscreteDiffusion:
    """Return the joints of a network of integers ``0 … classes − 1``, or of 8-bit images in so many shades.

    Args:
      network: called as `vifx.diffusion.discrete_reverse` says.
      shape: of one value.
      classes: K.
    """
    makers: dict[str, Callable[..., diffusion.Corruption]] = {
        "absorbing": diffusion.absorbing,
        "uniform": diffusion.uniform,
    }
    noise = makers[config.noise](classes, survival=config.survival)
    net = config.net(network)

    def reverse(steps: int | None) -> Net:
        sampler = None if steps else diffusion.discrete_ancestral(steps=config.sampler_steps)
        return diffusion.discrete_reverse(net, noise, shape, steps=steps, sampler=sampler)

    forward = diffusion.discrete_forward(noise, steps=config.chain_steps)
    return DiscreteDiffusion(
        Joint(evidence("x"), factor("z | x", forward)),
        Joint(
            factor("z", reverse(config.chain_steps), name="denoiser"),
            factor("x | z", diffusion.unnoised(noise, pixels=images)),
        ),
        Joint(factor("z", reverse(config.chain_steps or config.sampler_steps), name="denoiser")),
        noise,
    )


def experiment(
    config: Config,
    splits: Dataset,
    joints: DiscreteDiffusion,
    *,
    evaluate: Measure,
    drawings: Mapping[str, Drawing],
    sample: Any = None,
) -> Experiment:
    """Return the experiment: Adam on KL(inference ‖ generative), and its bound on the test split.

    Args:
      splits: integers ``x``.
      evaluate: what is measured at the end.
      drawings: by name.
      sample: as that of `Experiment`.
    """
    objective = kl(joints.inference, joints.generative)
    return Experiment(
        objective=objective,
        step=averaged_adam.trainer(objective, config),
        source=data.source({"x": splits.train["x"]}, config.data, seed=config.seed),
        splits=splits,
        inference=joints.inference,
        generative=joints.generative,
        monitor=evaluation.monitor_loss(objective, {"x": splits.validation["x"]}),
        evaluate=evaluate,
        drawings=drawings,
        sample=sample,
        best="-validation/elbo",
    )


def measure_bits(joints: DiscreteDiffusion, split: Split, *, times: int, unit: str = "bits_per_dim") -> Measure:
    """Measure the bound of the chains, ``elbo`` and its terms in nats, and in bits per element.

    Args:
      split: integers ``x``, usually of the test split.
      times: of each example, over which its bound is averaged.
      unit: the name of bits per element.
    """
    rows = {"x": split["x"]}
    shape = rows["x"].shape[1:]

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        keys = [jax.random.fold_in(key, index) for index in range(times)]
        draws = [evaluation.elbo(own, joints.inference, joints.generative, params, state, rows) for own in keys]
        found = {
            name: Estimate(np.mean([draw[name].values for draw in draws], axis=0))
            for name in draws[0]
            if name != "loss"
        }
        bits = evaluation.bits_per_dim(-np.asarray(found["elbo"].values), shape)
        return {**found, unit: Estimate(bits).noted("upper bound, by the chains", digits=3)}

    return measure


def draw_paths(joints: DiscreteDiffusion, draw: Callable[[NDArray[np.int32]], Figure], *, n: int) -> Drawing:
    """Draw what a reverse chain makes of noise, from its first point on.

    Args:
      draw: makes a figure of paths ``[n, points, *event]``, noise first.
      n: how many paths.
    """

    @jax.jit
    def sample(key: Key, params: Params, state: State) -> Array:
        return joints.path.sample(key, params, state, examples=n).values["z"]

    return lambda key, params, state: draw(np.asarray(sample(key, params, state))[:, ::-1])
