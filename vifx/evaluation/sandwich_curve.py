"""The figure of a sandwich that closes: both bounds of simulated examples over the number of temperatures."""

from __future__ import annotations

__all__ = ["sandwich_curve"]

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vifx.evaluation.bidirectional import Sandwich
from vifx.evaluation.style import STYLE, chart, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sandwich_curve(sandwiches: Mapping[int, Sandwich]) -> Figure:
    """Draw how far both bounds of simulated examples are from the middle of the closest ones, over temperatures.

    The zero is the mean of the two bounds of the most temperatures, example by example where the examples are the same
    (one key), so that the curves show the bounds and not which examples were drawn.

    Args:
      sandwiches: by their number of temperatures, as `bidirectional` returns them.

    Raises:
      ValueError: if there is none.
    """
    if not sandwiches:
        raise ValueError("sandwiches must hold at least one number of temperatures, got none.")
    from matplotlib.ticker import NullLocator

    counts = sorted(sandwiches)
    best = sandwiches[counts[-1]]
    middle = (best.lower.mean + best.upper.mean) / 2
    figure, axes = chart("Both bounds on simulated data", "temperatures (log scale)", "nats from the middle at last")
    sides = {
        "upper, rigorous": ("upper", "-", 0),
        "upper, calibrated": ("approximate", ":", 0),
        "lower, rigorous": ("lower", "-", 1),
    }
    for label, (name, dashes, colour) in sides.items():
        means = np.array([getattr(sandwiches[count], name).mean - middle for count in counts])
        line = {"color": STYLE.lines[colour], "linestyle": dashes, "linewidth": 1.6, "marker": "o", "markersize": 4}
        axes.plot(counts, means, label=label, **line)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08, y=0.12)
    legend(axes, columns=3)
    return figure
