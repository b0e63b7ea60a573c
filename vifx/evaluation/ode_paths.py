"""Paths of a differential equation under a posterior of its parameters: bands, and what they cover."""

from __future__ import annotations

__all__ = ["LEVEL", "OdeData", "band_figure", "draw_bands", "measure_bands", "path_draws"]

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.dynamics import LeastSquares
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, dress, legend, panels
from vifx.evaluation.table import Noted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.95
"""The probability of a band, at each time by itself."""


class OdeData(NamedTuple):
    """What was observed of a path, and how paths follow from parameters.

    Attributes:
      times: of the observations, ``[times]``.
      values: ``[times, species]``, NaN for a species that was not seen.
      grid: times at which bands are drawn, ``[grid]``.
      species: their names.
      paths: parameters ``[rows, d]`` to states on the grid, ``[rows, grid, species]``.
      truth: the parameters of the true path, ``[d]``.
      unit: of the time and of the states.
    """

    times: NDArray[Any]
    values: NDArray[Any]
    grid: NDArray[Any]
    species: Sequence[str]
    paths: Callable[[Array], Array]
    truth: NDArray[Any]
    unit: tuple[str, str]


def path_draws(
    key: Key, inference: Joint, params: Params, state: State, evidence: ArrayLike, data: OdeData, draws: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return draws of the parameters ``[draws, d]`` and their paths ``[draws, grid, species]``.

    Args:
      inference: with ``theta | x``.
      evidence: the one example of x, ``[1, ...]``.
    """
    x = jnp.repeat(jnp.asarray(evidence), draws, axis=0)
    theta = inference.sample(key, params, state, {"x": x}).values["theta"]
    return np.asarray(theta), np.asarray(jax.jit(data.paths)(theta))


def measure_bands(
    inference: Joint, evidence: ArrayLike, data: OdeData, fit: Callable[[], LeastSquares], *, draws: int
) -> Measure:
    """Measure the least-squares fit and the posterior.

    ``rss`` is the least residual sum of squares and ``failed_starts`` the share of starts that do not reach it;
    ``covered`` is the share of the true path's points, of all species, in the band of probability 0.95, and
    ``covered/parameters`` that of the true parameters in their intervals; ``width`` is the root mean square of the
    standard deviations of the parameters' logarithms.

    Args:
      fit: returns the least-squares fit.
      draws: of the posterior.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        theta, paths = path_draws(key, inference, params, state, evidence, data, draws)
        truth = np.asarray(jax.jit(data.paths)(jnp.asarray(data.truth, jnp.float32)[None]))[0]
        found = fit()
        return {
            "rss": Noted(found.rss, "least residual sum of squares"),
            "failed_starts": Noted(found.failures / len(found.reached), "share of starts that do not reach it"),
            "covered": Noted(_share(paths, truth), "of the true path by the bands of probability 0.95"),
            "covered/parameters": Noted(_share(theta, data.truth), "of the true parameters, likewise"),
            "width": Noted(float(np.sqrt(np.mean(np.var(theta, axis=0)))), "scale of the logarithms of parameters"),
        }

    return measure


def draw_bands(
    inference: Joint,
    evidence: ArrayLike,
    data: OdeData,
    fit: Callable[[], LeastSquares],
    *,
    title: str,
    draws: int,
) -> Drawing:
    """Draw data, least-squares fit, the true path and posterior bands, a panel for each species.

    Args:
      fit: returns the least-squares fit, whose parameters are those of the joint.
      title: above, on the left.
      draws: of the posterior.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        _, paths = path_draws(key, inference, params, state, evidence, data, draws)
        both = jnp.stack([jnp.asarray(fit().params), jnp.asarray(data.truth, jnp.float32)])
        best, truth = np.asarray(jax.jit(data.paths)(both))
        return band_figure(data, paths, best, truth, title=title)

    return draw


def band_figure(
    data: OdeData, paths: ArrayLike, best: ArrayLike, truth: ArrayLike, *, title: str = "", level: float = LEVEL
) -> Figure:
    """Draw the median and a band of paths for each species, with the fit, the true path and the data.

    Below, the same less the least-squares path, where narrow bands can be seen.

    Args:
      paths: draws, ``[draws, grid, species]``.
      best: the least-squares path, ``[grid, species]``.
      truth: the true path, ``[grid, species]``.
      title: above, on the left.
      level: the probability of the band at each time.
    """
    paths, best, truth = np.asarray(paths), np.asarray(best), np.asarray(truth)
    count = len(data.species)
    figure, grid = panels(
        2, count, title=title, width=4.1 * count, height=4.6, sharex=True, gridspec_kw={"height_ratios": (2, 1)}
    )
    for place, name in enumerate(data.species):
        above, below = grid[place], grid[count + place]
        dress(above, "", data.unit[1] if place == 0 else "")
        dress(below, data.unit[0], "less least squares" if place == 0 else "")
        fitted = best[:, place]
        at = np.interp(data.times, data.grid, fitted)
        for axes, less, less_at in ((above, 0.0, 0.0), (below, fitted, at)):
            low, middle, high = np.quantile(paths[:, :, place] - less, _ends(level), axis=0)
            look: dict[str, Any] = {"color": STYLE.lines[place], "linewidth": 0, "alpha": 0.28}
            axes.fill_between(data.grid, low, high, label=f"posterior, {level:.0%}", **look)
            axes.plot(data.grid, middle, color=STYLE.lines[place], linewidth=1.6, label="median")
            dashes: dict[str, Any] = {"color": STYLE.text, "linewidth": 1.0, "linestyle": (0, (5, 3))}
            axes.plot(data.grid, fitted - less, label="least squares", **dashes)
            dots: dict[str, Any] = {"color": STYLE.muted, "linewidth": 1.2, "linestyle": (0, (1, 1.5))}
            axes.plot(data.grid, truth[:, place] - less, label="true", **dots)
            axes.plot(data.times, data.values[:, place] - less_at, "o", color=STYLE.text, markersize=3.4, label="data")
        seen = np.isfinite(data.values[:, place]).any()
        above.set_title(name if seen else f"{name}, never seen", loc="left", **STYLE.label)
        above.set_ylim(bottom=0)
    legend(figure, columns=5)
    return figure


def _ends(level: float) -> list[float]:
    return [(1 - level) / 2, 0.5, (1 + level) / 2]


def _share(draws: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the share of true values between the quantiles of draws."""
    low, _, high = np.quantile(draws, _ends(LEVEL), axis=0)
    return float(np.mean((low <= truth) & (truth <= high)))
