"""Histograms of ranks from simulation-based calibration, with the band that uniform ranks stay in."""

from __future__ import annotations

__all__ = ["rank_band", "rank_histograms"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer, require_number
from vifx.evaluation.style import STYLE, dress, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rank_band(simulations: int, shares: ArrayLike, *, level: float = 0.99) -> NDArray[Any]:
    """Return the least and the most counts of the bins of uniform ranks, ``[2, bins]``.

    Each bin's count is binomial; all of them together stay in the band with at least the probability `level`.

    Args:
      simulations: how many ranks there are.
      shares: the probability of each bin.
      level: of the band, between 0 and 1.
    """
    from scipy import stats

    shares = np.asarray(shares, np.float64)
    tail = (1 - require_number(level, "rank_band: level", above=0, below=1)) / (2 * len(shares))
    return np.stack([stats.binom.ppf(tail, simulations, shares), stats.binom.isf(tail, simulations, shares)])


def rank_histograms(
    ranks: Mapping[str, ArrayLike], draws: int, *, bins: int = 20, level: float = 0.99, title: str = ""
) -> Figure:
    """Draw a histogram of ranks for each quantity, with the band of uniform ranks.

    Ranks that heap up at both ends are those of posteriors that are too narrow; in the middle, too wide; at one
    end, biased towards the other.

    Args:
      ranks: by quantity, ``[simulations]``, as `vifx.verification.calibrate` returns them.
      draws: the largest rank.
      bins: at most so many; ranks are divided among them as evenly as can be.
      level: the probability with which all bins of a quantity stay in the band.
      title: above, on the left.

    Raises:
      ValueError: no ranks, ranks out of 0, …, draws, or a number out of its range.
    """
    require_integer(draws, "rank_histograms: draws")
    require_integer(bins, "rank_histograms: bins", least=2)
    if not ranks:
        raise ValueError("rank_histograms: ranks is empty; give the ranks of at least one quantity.")
    parts = np.array_split(np.arange(draws + 1), min(bins, draws + 1))
    ends = np.cumsum([len(part) for part in parts])
    shares = np.array([len(part) for part in parts]) / (draws + 1)
    edges = np.concatenate([[0], ends]) / (draws + 1)
    columns = min(3, len(ranks))
    rows = math.ceil(len(ranks) / columns)
    figure, grid = panels(
        rows, columns, title=title, width=2.7 * columns + 0.6, height=2.1 * rows + 0.6, sharex=True, sharey=True
    )
    for axes in grid[len(ranks) :]:
        axes.set_visible(False)
    for place, (name, values) in enumerate(ranks.items()):
        own, axes = np.asarray(values), grid[place]
        if own.ndim != 1 or not len(own) or own.min() < 0 or own.max() > draws:
            raise ValueError(
                f"rank_histograms: ranks[{name!r}] must be integers [simulations] from 0 to {draws}, got the shape "
                f"{list(own.shape)}."
            )
        counts = np.bincount(np.searchsorted(ends, own, side="right"), minlength=len(parts))
        low, high = rank_band(len(own), shares, level=level)
        dress(
            axes, "rank / draws" if place + columns >= len(ranks) else "", "simulations" if not place % columns else ""
        )
        axes.stairs(high, edges, baseline=low, fill=True, color=STYLE.line, alpha=0.45, label=f"uniform, {level:.0%}")
        outside = (counts < low) | (counts > high)
        colours = np.where(outside, STYLE.bad, STYLE.lines[0])
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.92, align="edge", color=list(colours), alpha=0.75)
        axes.set_title(name, loc="left", **STYLE.label)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    return figure
