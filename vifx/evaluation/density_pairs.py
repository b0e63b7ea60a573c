"""Figures of pairs of densities in the plane, one above the other."""

from __future__ import annotations

__all__ = ["density_pairs_2d"]

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.style import STYLE, dress, panels
from vifx.evaluation.windows import in_plane, window_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LogProb = Callable[[NDArray[Any]], ArrayLike]


def density_pairs_2d(
    above: Sequence[LogProb],
    below: Sequence[LogProb],
    points: Sequence[ArrayLike],
    *,
    labels: Sequence[str],
    names: tuple[str, str],
    title: str = "",
    resolution: int = 80,
) -> Figure:
    """Draw densities in two rows, a column for each pair, in one window and with one scale of colours.

    A window is a little larger than the middle 99.8 % of its points; colours end at the largest density of the upper
    one's 99.8 % of the grid.

    Args:
      above: from points ``[n, 2]``, float32, to log-densities in nats ``[n]``, one a column.
      below: likewise.
      points: of each column, ``[n, 2]``, which its window is around.
      labels: of the columns.
      names: of the rows.
      title: above, on the left.
      resolution: points of the grid along either axis.

    Raises:
      ValueError: if there are not as many of each, or points are not in the plane.
    """
    counts = {"above": len(above), "below": len(below), "points": len(points), "labels": len(labels)}
    if len(set(counts.values())) > 1 or not above:
        raise ValueError(f"density_pairs_2d: there must be one or more columns, as many of each, got {counts}.")
    columns = len(labels)
    figure, axes = panels(2, columns, title=title, width=2.7 * columns, height=6.2)
    for column, (label, each) in enumerate(zip(labels, points, strict=True)):
        known = in_plane(each, f"points[{column}]")
        low, high = window_of(np.quantile(known, [0.001, 0.999], axis=0))
        ticks = [np.linspace(low[axis], high[axis], resolution) for axis in range(2)]
        grid = np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2).astype(np.float32)
        both = [
            np.exp(np.asarray(law(grid), np.float64)).reshape(resolution, -1) for law in (above[column], below[column])
        ]
        top = float(np.quantile(both[0], 0.998))
        for row, (density, name) in enumerate(zip(both, names, strict=True)):
            here = axes[row * columns + column]
            dress(here, "", name if column == 0 else "")
            here.grid(visible=False)
            here.set_title(label if row == 0 else "", loc="left", **STYLE.label)
            here.imshow(
                density,
                origin="lower",
                extent=(float(low[0]), float(high[0]), float(low[1]), float(high[1])),
                cmap="magma",
                vmin=0.0,
                vmax=top,
                interpolation="bilinear",
            )
    return figure
