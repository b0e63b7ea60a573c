"""Windows of the plane: the points that a figure takes, the square around them, and what lies outside."""

from __future__ import annotations

__all__ = ["Window", "frame", "in_plane", "window_of"]

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Window: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
"""The lower left and the upper right corner."""


def in_plane(points: ArrayLike, name: str) -> NDArray[Any]:
    """Return points of the plane as an array, float64 ``[n, 2]``.

    Raises:
      ValueError: they are none; the message starts with `name`.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise ValueError(f"{name} must be [n, 2] with at least one row, points of the plane, got shape {array.shape}.")
    return array


def window_of(points: NDArray[Any]) -> Window:
    """Return the corners of a square around points, with a margin."""
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    half = 0.57 * float(np.ptp(points, axis=0).max()) or 1.0
    return middle - half, middle + half


def frame(axes: Axes, window: Window, samples: NDArray[Any]) -> None:
    """Show a window, and say how many of the samples are outside of it."""
    from matplotlib.patheffects import withStroke

    low, high = window
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    outside = int(((samples < low) | (samples > high)).any(axis=1).sum())
    if outside:
        words = f"{outside:,} of {len(samples):,} samples are outside the picture"
        look = {"ha": "right", "va": "bottom", "fontsize": STYLE.tick_size, "color": STYLE.bad, "zorder": 6}
        halo = [withStroke(linewidth=3, foreground="white")]
        axes.text(0.995, 0.005, words, transform=axes.transAxes, path_effects=halo, **look)
