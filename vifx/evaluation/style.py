"""The look of every figure: one palette, one set of sizes, and the way to a PNG.

Figures are built on `matplotlib.figure.Figure` directly, so no pyplot state and no global style exists.
matplotlib is imported where a figure is made: importing vifx does not pay for it.
"""

from __future__ import annotations

__all__ = ["STYLE", "Style", "canvas", "chart", "dress", "legend", "panels", "png", "save_figure"]

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from vifx.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Style(NamedTuple):
    """Plain values: colours, and sizes in points."""

    dpi: int = 150
    text: str = "#1a1a1a"
    muted: str = "#5f6368"
    line: str = "#b8bcc2"
    grid: str = "#e9ebee"
    bad: str = "#cc3311"
    title_size: float = 11.0
    label_size: float = 9.0
    tick_size: float = 8.0
    # Paul Tol's bright scheme for lines: distinct under every common colour blindness.
    lines: tuple[str, ...] = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee")
    # Paul Tol's muted scheme and black for up to ten classes.
    classes: tuple[str, ...] = (
        *("#332288", "#88ccee", "#44aa99", "#117733", "#999933"),
        *("#ddcc77", "#cc6677", "#882255", "#aa4499", "#1a1a1a"),
    )

    @property
    def heading(self) -> dict[str, Any]:
        """How titles are written."""
        return {"fontsize": self.title_size, "color": self.text}

    @property
    def label(self) -> dict[str, Any]:
        """How labels are written."""
        return {"fontsize": self.label_size, "color": self.muted}

    @property
    def small(self) -> dict[str, Any]:
        """How ticks and notes are written."""
        return {"fontsize": self.tick_size, "color": self.muted}


STYLE = Style()
"""The one style of all figures."""


def canvas(width: float, height: float, **options: Any) -> Figure:
    """Return an empty white figure of a size in inches; `options` are those of matplotlib's `Figure`.

    A notebook shows it where it is the value of a cell.
    """
    from vifx.evaluation.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), dpi=STYLE.dpi, facecolor="white", **options)


def chart(title: str, x_label: str, y_label: str, *, width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    """Return an empty figure with one clean pair of axes.

    Args:
      title: above, on the left; a legend fits between it and the axes.
    """
    figure = canvas(width, height, layout="constrained")
    axes = figure.add_subplot()
    if title:
        axes.set_title(title, loc="left", pad=26, **STYLE.heading)
    dress(axes, x_label, y_label)
    return figure, axes


def panels(
    rows: int, columns: int, *, title: str, width: float = 8.0, height: float = 3.2, **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """Return an empty figure with pairs of axes in rows and columns, ``[rows · columns]``, row by row.

    Args:
      **options: those of matplotlib's `subplots`.
    """
    figure = canvas(width, height, layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", **STYLE.heading)
    return figure, figure.subplots(rows, columns, squeeze=False, **options).ravel()


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Give axes the look of every chart: labels, two spines, horizontal lines behind the data."""
    axes.set_xlabel(x_label, **STYLE.label)
    axes.set_ylabel(y_label, **STYLE.label)
    axes.tick_params(which="both", labelsize=STYLE.tick_size, color=STYLE.line, labelcolor=STYLE.muted)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(STYLE.line)
    axes.grid(visible=True, axis="y", color=STYLE.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def legend(owner: Axes | Figure, *, columns: int) -> None:
    """Put the legend in `columns` above the axes and below the title, where it cannot cover data.

    That of a figure with several pairs of axes has what the first pair has, and stands beside the title.
    """
    from matplotlib.figure import Figure

    look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": STYLE.tick_size, "labelcolor": STYLE.muted}
    if isinstance(owner, Figure):
        owner.legend(*owner.axes[0].get_legend_handles_labels(), loc="outside upper right", **look)
        return
    look |= {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2, "borderpad": 0}
    owner.legend(handlelength=1.4, handletextpad=0.4, columnspacing=1.2, **look)


def png(figure: Figure) -> bytes:
    """Render a figure as PNG; the same figure gives the same bytes (no date, no version inside)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=STYLE.dpi, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG by an atomic rename, and return its path."""
    path = Path(path)
    write_whole(path, png(figure))
    return path
