"""Shades of grey as 8-bit pixels: of S shades, the number k is the pixel nearest to ``255 k / (S − 1)``."""

from __future__ import annotations

__all__ = ["pixel_of", "shade_of"]

from typing import Any


def pixel_of(shade: Any, shades: int) -> Any:
    """Return the 8-bit pixels of shades 0, …, S − 1, integers of int32 or wider, in integer arithmetic.

    Args:
      shade: integers of any shape.
      shades: S, 2 or more.

    >>> [pixel_of(k, 3) for k in range(3)]
    [0, 128, 255]
    """
    return (510 * shade + shades - 1) // (2 * (shades - 1))


def shade_of(pixel: Any, shades: int) -> Any:
    """Return the number of the shade that 8-bit pixels are nearest to; of 256 shades they are their own.

    Args:
      pixel: integers 0, …, 255 of int32 or wider, of any shape.
      shades: S, 2 or more.

    >>> [shade_of(pixel_of(k, 17), 17) for k in (0, 5, 16)]
    [0, 5, 16]
    """
    return (2 * (shades - 1) * pixel + 255) // 510
