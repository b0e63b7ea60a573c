"""A figure that notebooks show without pyplot."""

from __future__ import annotations

__all__ = ["ShownFigure"]

from matplotlib.figure import Figure

from vifx.evaluation.style import png


class ShownFigure(Figure):
    """A figure that a notebook shows where it is the value of a cell, whether or not pyplot was imported.

    Example:
      >>> ShownFigure(figsize=(1, 1))._repr_png_()[1:4]
      b'PNG'
    """

    def _repr_png_(self) -> bytes:
        return png(self)
