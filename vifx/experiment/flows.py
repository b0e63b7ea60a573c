"""What experiments with a flow share: their options, their training, and what they draw.

Drawings are functions of (key, params, state), as `Experiment` takes them. Images are uint8 and become real numbers by
`data.dequantize`; `shades` says how many shades of grey they have.
"""

from __future__ import annotations

__all__ = [
    "Config",
    "draw_density",
    "draw_interpolation",
    "draw_temperatures",
    "images",
    "plane",
    "sampler",
    "trainer",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from vifx import data, evaluation, flows, training
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Array, Key, Params, PyTree, State
from vifx.data import Dataset, Split
from vifx.experiment import adversarial
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Drawing, Experiment
from vifx.experiment.likelihood import gaussian, likelihood, monitor
from vifx.experiment.rules import NonNegativeInt, PositiveFloat, PositiveInt
from vifx.training import Step
from vifx.variational import kl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments with a flow have in common."""

    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam after the warm-up; it falls to 0 along a cosine."""
    warmup: NonNegativeInt = 100
    """Updates over which the step size rises from 0; at most a tenth of all."""
    clip: PositiveFloat = 10.0
    """The largest norm of a gradient; longer ones are scaled down to it."""
    decay: PositiveFloat = 0.99
    """Of the average of the parameters, which is what is measured and drawn."""
    dequantizations: PositiveInt = 4
    """Draws of the noise within a shade of grey, over which the test likelihood of images is averaged."""


def trainer(objective: Objective, config: Config, *, weight_decay: float = 0.0) -> Step:
    """Return the step: Adam with warm-up, cosine and clipped gradients, and an average of the parameters.

    Args:
      objective: what is minimized.
      config: its options.
      weight_decay: what an update takes from the weights of the couplings' networks, as a share of the step size. Their
        biases are left alone, so that what is taken is the dependence of one half on the other.
    """
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(config.warmup, config.steps // 10), config.steps
    )
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=_weights) if weight_decay else optax.adam(rate)
    optimizer = optax.chain(optax.clip_by_global_norm(config.clip), adam)
    return training.averaged(training.optimize(objective, optimizer), config.decay)


def images(
    config: Config,
    splits: Dataset,
    inference: Joint,
    generative: Joint,
    *,
    shades: int = 256,
    alpha: float = 1e-6,
) -> Experiment:
    """Return the experiment of a flow on dequantized 8-bit images.

    Args:
      config: its options.
      splits: the images, uint8.
      inference: the evidence.
      generative: the flow, of images in (0, 1).
      shades: shades of grey.
      alpha: of the logits of the Gaussian that is fitted for comparison.
    """
    objective = kl(inference, generative)
    measure = likelihood(generative, splits.test, shades=shades, draws=config.dequantizations)
    compare = gaussian(splits.train, splits.test, shades=shades, alpha=alpha)
    return Experiment(
        objective=objective,
        step=trainer(objective, config),
        source=data.Resident(splits.train, config.data.batch_size, config.seed, data.dequantize(shades=shades)),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=monitor(generative, splits.validation, shades=shades),
        evaluate=lambda key, params, state: {**measure(key, params, state), **compare(key, params, state)},
        drawings={
            "samples": draw_temperatures(generative),
            "interpolation": draw_interpolation(generative, splits.test, shades=shades),
        },
        sample=sampler(generative),
        best="validation/loss",
        curves={"likelihood": ("validation/bits_per_dim",)},
    )


def plane(config: Config, splits: Dataset, inference: Joint, generative: Joint) -> Experiment:
    """Return the experiment of a flow on points of the plane.

    Args:
      config: its options.
      splits: points ``[examples, 2]``.
      inference: the evidence.
      generative: the flow.
    """
    objective = kl(inference, generative)
    return Experiment(
        objective=objective,
        step=trainer(objective, config),
        source=data.Resident(splits.train, config.data.batch_size, config.seed),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=monitor(generative, splits.validation),
        evaluate=likelihood(generative, splits.test),
        drawings={"density": draw_density(generative, splits.test, title=config.data.name.replace("_", " "))},
        best="validation/loss",
    )


def sampler(generative: Joint) -> Callable[..., NDArray[Any]]:
    """Return ``(key, params, state, n, temperature) -> images`` in [0, 1], ``[n, height, width, channels]``.

    The temperature scales the standard deviation of the base. What a sample has outside of [0, 1] is clipped.

    Args:
      generative: the flow, of images in (0, 1).
    """
    return adversarial.sampler(generative, low=0.0, high=1.0)


def draw_temperatures(
    generative: Joint,
    *,
    temperatures: Sequence[float] = (0.5, 0.7, 0.85, 1.0),
    columns: int = 12,
    title: str = "Samples by temperature",
) -> Drawing:
    """Draw one row of samples for each temperature, with the same noise in every row.

    Args:
      generative: the flow, of images in (0, 1), with a normal base.
      temperatures: from top to bottom.
      columns: samples of each.
      title: above, on the left.
    """

    @jax.jit
    def rows(key: Key, params: Params, state: State) -> Array:
        flow, of_flow = _flow(key, generative, params, state, {}, columns)
        noise = flow.base.sample(jax.random.fold_in(key, 1), (columns,))
        mean = jnp.broadcast_to(flow.base.mean, noise.shape)  # pyright: ignore[reportAttributeAccessIssue]
        codes = jnp.concatenate([mean + temperature * (noise - mean) for temperature in temperatures])
        return flow.decode(*of_flow[:2], codes)

    def draw(key: Key, params: Params, state: State) -> Figure:
        drawn = np.asarray(rows(key, params, state))
        grid = np.clip(drawn, 0.0, 1.0).reshape(len(temperatures), columns, *drawn.shape[1:])
        return evaluation.image_rows(grid, [f"T = {t:g}" for t in temperatures], title=title, limits=(0.0, 1.0))

    return draw


def draw_interpolation(
    generative: Joint,
    split: Split,
    *,
    shades: int = 256,
    rows: int = 8,
    columns: int = 10,
    title: str = "Interpolation between test images",
) -> Drawing:
    """Draw what lies between pairs of real images on the straight line between their codes.

    Args:
      generative: the flow, a transformed factor of ``x``.
      split: images, uint8, whose first 2·`rows` are the pairs.
      shades: shades of grey.
      rows: how many pairs.
      columns: images of each, the two real ones included.
      title: above, on the left.

    Raises:
      ValueError: the split has too few examples.
    """
    if len(split["x"]) < 2 * rows:
        raise ValueError(f"draw_interpolation: rows={rows} needs {2 * rows} examples, got {len(split['x'])}.")
    few = {name: jnp.asarray(array[: 2 * rows]) for name, array in split.items()}

    @jax.jit
    def between(key: Key, params: Params, state: State) -> Array:
        batch = data.dequantize(shades=shades)(jax.random.fold_in(key, 1), few)
        flow, of_flow = _flow(key, generative, params, state, batch, 2 * rows)
        codes = flow.encode(*of_flow[:2], batch["x"], of_flow[2])
        start, end = codes[:rows, None], codes[rows:, None]
        share = jnp.linspace(0.0, 1.0, columns, dtype=codes.dtype).reshape(1, columns, *[1] * (codes.ndim - 1))
        lines = ((1 - share) * start + share * end).reshape(rows * columns, *codes.shape[1:])
        given = jax.tree.map(lambda parent: jnp.repeat(parent[:rows], columns, axis=0), of_flow[2])
        return flow.decode(*of_flow[:2], lines, given)

    def draw(key: Key, params: Params, state: State) -> Figure:
        drawn = np.clip(np.asarray(between(key, params, state)), 0.0, 1.0)
        return evaluation.image_grid(drawn, columns=columns, title=title, limits=(0.0, 1.0))

    return draw


def draw_density(generative: Joint, split: Split, *, n: int = 4000, title: str = "") -> Drawing:
    """Draw the density of a flow in the plane, between `n` points of a split and as many samples.

    Args:
      generative: the flow.
      split: the points.
      n: how many of each.
      title: above, on the left.
    """

    @jax.jit
    def log_prob(params: Params, state: State, x: Array) -> Array:
        return jnp.asarray(sum(generative.log_prob(params, state, {"x": x}).values()))

    def draw(key: Key, params: Params, state: State) -> Figure:
        samples = generative.sample(key, params, state, examples=n).values["x"]
        return evaluation.density_2d(
            lambda x: np.asarray(log_prob(params, state, jnp.asarray(x))), split["x"][:n], samples, title=title
        )

    return draw


def _weights(params: PyTree) -> PyTree:
    """Say of each leaf whether it is a weight of a network."""
    return jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path[-1:]) == "['weight']", params)


def _flow(
    key: Key, generative: Joint, params: Params, state: State, batch: Mapping[str, Array], examples: int
) -> tuple[flows.Flow, tuple[PyTree, PyTree, Any]]:
    """Return the flow of ``x``, with its parameters, its state, and what it is conditioned on."""
    fixed = {"x": batch["x"]} if "x" in batch else {}
    drawn = generative.sample(jax.random.fold_in(key, 0), params, state, batch, examples=examples, fixed=fixed)
    found = drawn.conditionals["x"]
    return flows.Flow(found.base, found.bijection), (found.params, found.state, found.given)
