"""Families of models beside each other: one panel a metric, one line a family."""

from __future__ import annotations

__all__ = ["families_chart"]

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from vifx.evaluation.style import STYLE, dress, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def families_chart(
    rows: Mapping[str, Mapping[str, tuple[float, float, float]]],
    headings: Mapping[str, str],
    *,
    muted: Collection[str] = (),
    title: str = "",
) -> Figure:
    """Draw one panel for each metric with a dot for each family, and a line from its smallest to its largest value.

    A metric whose values are positive, are above 1 somewhere and span more than a factor of twenty is drawn on a
    logarithmic axis.

    Args:
      rows: by family and metric, (median, smallest, largest).
      headings: of the metrics that are drawn, what the axis is called.
      muted: families that are drawn in grey, such as controls.
      title: above, on the left.

    Raises:
      ValueError: if there is no family, or no metric that one of them has.
    """
    shown = [name for name in headings if any(name in cells for cells in rows.values())]
    if not rows or not shown:
        raise ValueError(f"rows must have a family with one of {list(headings)}, got {dict(rows)}.")
    figure, every = panels(
        1, len(shown), title=title, width=1.6 + 1.75 * len(shown), height=1.1 + 0.24 * len(rows), sharey=True
    )
    names = list(rows)[::-1]
    for metric, axes in zip(shown, every, strict=True):
        dress(axes, headings[metric], "")
        axes.grid(visible=True, axis="y", color=STYLE.grid, linewidth=0.8)
        found = [rows[name][metric] for name in names if metric in rows[name]]
        least, most = min(low for _, low, _ in found), max(high for _, _, high in found)
        if least > 0 and most > max(1, 20 * least):
            axes.set_xscale("log")
        for place, name in enumerate(names):
            if metric in rows[name]:
                middle, low, high = rows[name][metric]
                colour = STYLE.muted if name in muted else STYLE.lines[0]
                axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="round")
                axes.plot([middle], [place], "o", color=colour, markersize=4.5)
        axes.set_yticks(np.arange(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
    return figure
