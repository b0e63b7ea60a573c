"""Models of paths at times that were held out: between what was seen, and after it."""

from __future__ import annotations

__all__ = ["Predicted", "draw_paths", "measure_paths", "path_figure", "predictor"]

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import SpiralPaths, Split
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.likelihood import nll
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, legend, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Predicted(NamedTuple):
    """Two models at the times that were held out.

    Attributes:
      smoothed: the mean of the latent model given all that was seen, ``[examples, between + after, 2]``.
      continued: the mean of the chain's continuations after what was seen, ``[examples, after, 2]``.
    """

    smoothed: Array
    continued: Array


def predictor(
    inference: Joint, generative: Joint, forecast: Joint, law: SpiralPaths, *, draws: int = 30
) -> Callable[[Key, Params, State, Split], Predicted]:
    """Return a compiled function that predicts the paths of a split at the times that were held out.

    Args:
      inference: of the latent ``z`` given ``x`` and ``times``; z is predicted by the mean of its distribution.
      generative: of ``x`` given ``z`` and ``times``, which may be any.
      forecast: of ``x`` given ``times``, a chain over the seen and the later steps, whose parameters are those of the
        chain over the seen ones. Its continuations of what was seen are drawn `draws` times and averaged.
    """

    @jax.jit
    def predicted(key: Key, params: Params, state: State, x: Array, times: Array) -> Predicted:
        seen, held = {"x": x, "times": times}, jnp.asarray(law.held_times)
        noises = jax.random.split(key, 4)
        z = inference.sample(noises[0], params, state, seen).conditionals["z"].mean
        held = jnp.broadcast_to(held, (len(x), len(law.held_times)))
        given = {"z": z, "times": held}
        paths = generative.sample(noises[1], params, state, given, fixed=given).conditionals["x"].mean
        whole = {"times": jnp.concatenate([times, held[:, len(law.between) :]], axis=1)}
        chain = forecast.sample(noises[2], params, state, whole, fixed=whole).conditionals["x"]
        start = jnp.concatenate([x, jnp.zeros((len(x), len(law.after), x.shape[-1]), x.dtype)], axis=1)
        drawn = chain.continued(noises[3], start, x.shape[1], (draws,))
        return Predicted(paths, jnp.mean(drawn[:, :, x.shape[1] :], axis=0))

    return lambda key, params, state, split: predicted(
        key, params, state, jnp.asarray(split["x"]), jnp.asarray(split["times"])
    )


def measure_paths(predict: Callable[..., Predicted], chain: Joint, law: SpiralPaths, split: Split) -> Measure:
    """Measure root mean square distances from the paths without noise: ``error/between``, ``error/after``, ….

    ``error/between`` and ``error/after`` are those of the latent model between and after what it has seen,
    ``error/after/chain`` is that of the chain's continuation, and ``error/after/still`` that of who stays at the last
    point seen. ``log_prob/chain`` is the log-likelihood of the chain in nats, exact, which bounds of the latent model's
    compare with.

    Args:
      predict: made by `predictor`.
      chain: the joint of ``x`` given ``times`` over the steps that were seen.
      split: ``x``, ``times`` and the path ``held``, usually of the test split.
    """
    between = len(law.between)
    truth = split["held"].astype(np.float64)
    seen = {"x": split["x"], "times": split["times"]}

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        for_paths, for_density = jax.random.split(key)
        smoothed, continued = (np.asarray(each, np.float64) for each in predict(for_paths, params, state, split))
        still = np.broadcast_to(split["x"][:, -1:], truth[:, between:].shape)
        log_prob = -nll(for_density, chain, params, state, seen)
        return {
            "log_prob/chain": Estimate(log_prob, "log-likelihood of the chain, exact"),
            "error/between": _distance(smoothed[:, :between], truth[:, :between]),
            "error/after": _distance(smoothed[:, between:], truth[:, between:]),
            "error/after/chain": _distance(continued, truth[:, between:]),
            "error/after/still": _distance(still, truth[:, between:]),
        }

    return measure


def _distance(found: NDArray[Any], truth: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.sum((found - truth) ** 2, axis=-1))))


def draw_paths(
    predict: Callable[..., Predicted], law: SpiralPaths, split: Split, *, names: Sequence[str], n: int = 6
) -> Drawing:
    """Draw the first `n` paths: what was seen, the truth, and how the two models go on.

    Args:
      predict: made by `predictor`.
      split: as for `measure_paths`.
      names: what the latent model and the chain are.
    """
    few = {name: array[:n] for name, array in split.items()}

    def draw(key: Key, params: Params, state: State) -> Figure:
        smoothed, continued = predict(key, params, state, few)
        return path_figure(few["held"], few["x"], [smoothed, continued], names, known=len(law.between))

    return draw


def path_figure(
    truth: ArrayLike, seen: ArrayLike, paths: Sequence[ArrayLike], names: Sequence[str], *, known: int
) -> Figure:
    """Draw paths in the plane, each in a panel: the truth, what was seen, and predictions.

    Args:
      truth: ``[examples, times, 2]``.
      seen: the points that were seen, ``[examples, points, 2]``.
      paths: predictions of the last times, of as many of them as each has, ``[examples, …, 2]``.
      names: of the predictions.
      known: how many of the times lie between what was seen; the truth is dashed after them.

    Raises:
      ValueError: if there is not one name for each prediction.
    """
    truth, seen = np.asarray(truth), np.asarray(seen)
    if len(paths) != len(names):
        raise ValueError(f"names must be one for each of {len(paths)} paths, got {len(names)}.")
    columns = min(3, len(truth))
    rows = -(-len(truth) // columns)
    figure, grid = panels(rows, columns, title="Test paths", width=3.1 * columns, height=3.1 * rows + 0.6)
    for place, axes in enumerate(grid):
        if place >= len(truth):
            axes.set_visible(False)
            continue
        own = truth[place]
        axes.plot(*own[: known + 1].T, color=STYLE.muted, linewidth=1.0, label="path, seen with noise")
        axes.plot(*own[known:].T, color=STYLE.muted, linewidth=1.2, linestyle="--", label="path, to be told")
        axes.scatter(*seen[place].T, s=8, color=STYLE.text, linewidths=0, zorder=3, label="seen")
        for color, path, name in zip(STYLE.lines, paths, names, strict=False):
            axes.plot(*np.asarray(path)[place].T, color=color, linewidth=1.4, label=name)
        axes.set_aspect("equal", adjustable="datalim")
        axes.tick_params(labelsize=STYLE.tick_size, color=STYLE.line, labelcolor=STYLE.muted)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(STYLE.line)
    legend(figure, columns=3)
    return figure
