"""Figures made of images: samples, reconstructions, latent traversals and manifolds.

Each function takes arrays and returns a `matplotlib.figure.Figure`; none draws randomness or touches
pyplot. Images are ``[..., height, width]`` or ``[..., height, width, channels]`` with one or three
channels, either uint8 or floats between `limits`; each becomes one image artist that holds exactly
that array and covers a whole number of screen pixels per image pixel. Non-finite grey pixels are
drawn in red.
"""

from __future__ import annotations

__all__ = ["image_grid", "image_rows", "latent_manifold", "latent_traversal", "reconstructions"]

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer
from vifx.evaluation.estimate import minus
from vifx.evaluation.style import STYLE, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Limits = tuple[float, float]


def image_grid(
    images: ArrayLike,
    *,
    captions: Sequence[str] = (),
    columns: int | None = None,
    title: str = "",
    limits: Limits | None = None,
) -> Figure:
    """Draw images row by row.

    Args:
      images: ``[n, height, width(, channels)]``.
      captions: what stands below each image, if anything does.
      columns: images a row; near-square by default.
      title: above, on the left.
      limits: the values of black and white; (0, 255) for uint8 and (0, 1) for floats by default.

    Raises:
      ValueError: if `images` is not a batch of images, there are captions but not one for each, or `columns` is not
        positive.
    """
    images = _as_images(images, "images", leading=1)
    if captions and len(captions) != len(images):
        raise ValueError(f"captions must be one for each of {len(images)} images, got {len(captions)}.")
    if columns is None:
        columns = math.ceil(math.sqrt(len(images)))
    require_integer(columns, "columns")
    cells = [(*divmod(i, columns), image) for i, image in enumerate(images)]
    return _mosaic(cells, _Labels(title=title, captions=tuple(captions)), limits)


def image_rows(images: ArrayLike, rows: Sequence[str], *, title: str = "", limits: Limits | None = None) -> Figure:
    """Draw rows of images, each with a label in front.

    Args:
      images: ``[rows, columns, height, width(, channels)]``.
      rows: a label for each row.
      title: above, on the left.
      limits: the values of black and white; (0, 255) for uint8 and (0, 1) for floats by default.

    Raises:
      ValueError: if `images` does not have one row per label.
    """
    images = _as_images(images, "images", leading=2)
    _require_grid(images, (len(rows), images.shape[1]), "one row per label")
    cells = [(r, c, image) for r, row in enumerate(images) for c, image in enumerate(row)]
    return _mosaic(cells, _Labels(title=title, rows=tuple(rows)), limits)


def reconstructions(
    originals: ArrayLike,
    reconstructed: ArrayLike,
    *,
    columns: int = 10,
    title: str = "Reconstructions",
    limits: Limits | None = None,
) -> Figure:
    """Draw each original above its reconstruction.

    Args:
      originals: ``[n, height, width(, channels)]``.
      reconstructed: the same shape.
      columns: pairs a row, at most.
      title: above, on the left.
      limits: the values of black and white; (0, 255) for uint8 and (0, 1) for floats by default.

    Raises:
      ValueError: if the two arrays have different shapes.
    """
    originals = _as_images(originals, "originals", leading=1)
    reconstructed = _as_images(reconstructed, "reconstructed", leading=1)
    if originals.shape != reconstructed.shape:
        raise ValueError(
            f"originals and reconstructed must have one shape, got {originals.shape} and "
            f"{reconstructed.shape}; pass the reconstructions of exactly these originals."
        )
    require_integer(columns, "columns")
    columns = min(columns, len(originals))
    cells = []
    for i, (above, below) in enumerate(zip(originals, reconstructed, strict=True)):
        row, column = divmod(i, columns)
        cells += [(2 * row, column, above), (2 * row + 1, column, below)]
    pairs = math.ceil(len(originals) / columns)
    labels = _Labels(title=title, rows=("original", "reconstruction") * pairs)
    return _mosaic(cells, labels, limits, rows_per_group=2)


def latent_traversal(
    images: ArrayLike,
    dimensions: Sequence[int],
    values: ArrayLike,
    *,
    title: str = "Latent traversal",
    limits: Limits | None = None,
) -> Figure:
    """Draw decoded traversals: row `r` moves latent ``dimensions[r]`` alone, column `c` puts it to ``values[c]``.

    `traversal_codes` makes the codes to decode, at `normal_quantiles` or other values.

    Args:
      images: ``[rows, columns, height, width(, channels)]``.
      dimensions: the latent that each row moves.
      values: the value that each column puts it to.
      title: above, on the left.
      limits: the values of black and white; (0, 255) for uint8 and (0, 1) for floats by default.

    Raises:
      ValueError: if `images` does not have one row per dimension and one column per value.
    """
    images = _as_images(images, "images", leading=2)
    values = np.asarray(values)
    _require_grid(images, (len(dimensions), len(values)), "one row per dimension and one column per value")
    cells = [(r, c, image) for r, row in enumerate(images) for c, image in enumerate(row)]
    labels = _Labels(
        title=title,
        rows=tuple(f"z{_subscript(d)}" for d in dimensions),
        columns=tuple(_signed(v) for v in values),
        bottom="value of the moved latent (the others stay)",
    )
    return _mosaic(cells, labels, limits)


def latent_manifold(
    images: ArrayLike,
    values: ArrayLike,
    *,
    dimensions: tuple[int, int] = (0, 1),
    title: str = "Latent manifold",
    limits: Limits | None = None,
) -> Figure:
    """Draw decodings of a square grid of codes in the plane; the second latent grows upwards.

    `manifold_codes` makes the codes to decode, at `normal_quantiles` or other values.

    Args:
      images: ``[side, side, height, width(, channels)]``; ``[r, c]`` decodes the first latent at
        ``values[c]`` and the second at ``values[r]``.
      values: of either latent.
      dimensions: the two latents, for the labels.
      title: above, on the left.
      limits: the values of black and white; (0, 255) for uint8 and (0, 1) for floats by default.

    Raises:
      ValueError: if `images` is not square with one row and column per value.
    """
    images = _as_images(images, "images", leading=2)
    values = np.asarray(values)
    side = len(values)
    _require_grid(images, (side, side), "one row and one column per value")
    cells = [(side - 1 - r, c, image) for r, row in enumerate(images) for c, image in enumerate(row)]
    shown = set(np.linspace(0, side - 1, min(side, 7)).round().astype(int).tolist())
    ticks = tuple(_signed(v) if i in shown else "" for i, v in enumerate(values))
    labels = _Labels(
        title=title,
        rows=ticks[::-1],
        columns=ticks,
        bottom=f"z{_subscript(dimensions[0])}",
        left=f"z{_subscript(dimensions[1])}",
    )
    return _mosaic(cells, labels, limits, gap=0)


class _Labels(NamedTuple):
    title: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    bottom: str = ""
    left: str = ""
    captions: tuple[str, ...] = ()


class _Layout(NamedTuple):
    """Sizes in screen pixels; y points down."""

    cell: tuple[int, int]
    gap: int
    line: int
    group_gap: int
    rows_per_group: int
    left: int
    top: int
    width: int
    height: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        x = self.left + column * (self.cell[1] + self.gap)
        y = self.top + row * (self.cell[0] + self.gap + self.line) + row // self.rows_per_group * self.group_gap
        return x, y


def _points(size: float) -> float:
    return size * STYLE.dpi / 72


def _layout(
    rows: int, columns: int, image: tuple[int, int], labels: _Labels, gap: int | None, rows_per_group: int
) -> _Layout:
    # A whole number of screen pixels per image pixel keeps every image crisp.
    zoom = max(1, min(96, 1150 // columns) // max(image))
    cell = (zoom * image[0], zoom * image[1])
    if gap is None:
        gap = max(2, cell[1] // 24)
    group_gap = 3 * gap if rows_per_group > 1 else 0
    letter, line = 0.6 * _points(STYLE.tick_size), 1.6 * _points(STYLE.label_size)
    margin = 18
    left = margin + math.ceil(max((len(text) for text in labels.rows), default=0) * letter)
    left += (12 if labels.rows else 0) + (math.ceil(line) if labels.left else 0)
    top = margin + (math.ceil(1.9 * _points(STYLE.title_size)) if labels.title else 0)
    bottom = margin + math.ceil(line * (bool(labels.columns) + bool(labels.bottom)))
    below = math.ceil(1.6 * _points(STYLE.tick_size)) if labels.captions else 0
    layout = _Layout(cell, gap, below, group_gap, rows_per_group, left, top, 0, 0)
    x, y = layout.corner(rows - 1, columns - 1)
    least = 2 * margin + math.ceil(0.62 * _points(STYLE.title_size) * len(labels.title))
    return layout._replace(width=max(x + cell[1] + margin, least), height=y + cell[0] + below + bottom)


def _mosaic(
    cells: Sequence[tuple[int, int, NDArray[Any]]],
    labels: _Labels,
    limits: Limits | None,
    *,
    gap: int | None = None,
    rows_per_group: int = 1,
) -> Figure:
    """Place images (row, column, image) in one pair of axes whose unit is a screen pixel."""
    rows, columns = 1 + max(r for r, _, _ in cells), 1 + max(c for _, c, _ in cells)
    image = cells[0][2]
    low, high = limits or ((0, 255) if image.dtype == np.uint8 else (0.0, 1.0))
    layout = _layout(rows, columns, image.shape[:2], labels, gap, rows_per_group)
    figure = canvas(layout.width / STYLE.dpi, layout.height / STYLE.dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for row, column, pixels in cells:
        x, y = layout.corner(row, column)
        artist = axes.imshow(
            pixels if pixels.ndim == 2 else np.clip((pixels - low) / (high - low), 0, 1),
            extent=(x, x + layout.cell[1], y + layout.cell[0], y),
            cmap=_grey(),
            vmin=low,
            vmax=high,
            interpolation="nearest",
            aspect="auto",
        )
        artist.set_label(f"{row},{column}")
    axes.set_xlim(0, layout.width)
    axes.set_ylim(layout.height, 0)
    for (row, column, _), caption in zip(cells, labels.captions, strict=False):
        x, y = layout.corner(row, column)
        axes.text(x + layout.cell[1] / 2, y + layout.cell[0] + 4, caption, ha="center", va="top", **STYLE.small)
    _write_labels(axes, layout, labels, rows, columns)
    return figure


def _write_labels(axes: Any, layout: _Layout, labels: _Labels, rows: int, columns: int) -> None:
    plain = {"fontsize": STYLE.label_size, "color": STYLE.text}
    height, width = layout.cell
    if labels.title:
        axes.text(layout.corner(0, 0)[0], 18, labels.title, va="top", ha="left", **STYLE.heading)
    for row, text in enumerate(labels.rows):
        x, y = layout.corner(row, 0)
        axes.text(x - 12, y + height / 2, text, ha="right", va="center", **STYLE.small)
    below = layout.corner(rows - 1, 0)[1] + height
    for column, text in enumerate(labels.columns):
        x, _ = layout.corner(rows - 1, column)
        axes.text(x + width / 2, below + 10, text, ha="center", va="top", **STYLE.small)
    right = layout.corner(0, columns - 1)[0] + width
    if labels.bottom:
        line = 1.6 * _points(STYLE.label_size) if labels.columns else 0
        axes.text((layout.left + right) / 2, below + 10 + line, labels.bottom, ha="center", va="top", **plain)
    if labels.left:
        axes.text(18, (layout.top + below) / 2, labels.left, ha="left", va="center", **plain)


def _grey() -> Any:
    from matplotlib import colormaps

    return colormaps["gray"].with_extremes(bad=STYLE.bad)


def _as_images(images: ArrayLike, name: str, *, leading: int) -> NDArray[Any]:
    """Return images without a channel axis if grey, with three channels if colour."""
    array = np.asarray(images)
    if array.ndim == leading + 3 and array.shape[-1] == 1:
        array = array[..., 0]
    colour = array.ndim == leading + 3 and array.shape[-1] == 3
    if not (array.ndim == leading + 2 or colour) or array.size == 0:
        axes = ", ".join(("n",) if leading == 1 else ("rows", "columns"))
        raise ValueError(
            f"{name} must be [{axes}, height, width] or [{axes}, height, width, channels], 1 or 3 channels, "
            f"with at least one image, got shape {np.shape(images)}; reshape flat vectors to images first."
        )
    return array


def _require_grid(images: NDArray[Any], grid: tuple[int, int], rule: str) -> None:
    if images.shape[:2] != grid:
        raise ValueError(f"images must have {rule}, so {grid}, got {images.shape[:2]}.")


def _signed(value: float) -> str:
    text = f"{value:.1f}"
    return "0" if float(text) == 0 else minus(text)


def _subscript(index: int) -> str:
    return str(index).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
