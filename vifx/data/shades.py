"""How many shades of grey images have."""

from __future__ import annotations

__all__ = ["shades_of"]

import numpy as np

from vifx.checks import require_name
from vifx.data.dataset import Split
from vifx.data.opened import Opened
from vifx.data.rows import length, read
from vifx.grey import pixel_of

_ROWS = 1000  # images that are looked at at a time


def shades_of(split: Split, *, variable: str = "x") -> int:
    """Return how many shades of grey the 8-bit images of a split have, from 2 to 256.

    It is S if the pixels that occur are those nearest to ``255 k / (S − 1)`` for k = 0, ..., S − 1, each at least once,
    which is how images of S shades are spread over 0, ..., 255, and else 256. A probability of an image is one whatever
    S is, but a model that knows of 17 shades puts none of it on the 239 pixels that never occur. Of data that is
    streamed the first 1,000 images are looked at.

    Args:
      split: usually the training split.
      variable: the images.

    Raises:
      TypeError: if the variable is not uint8.

    >>> shades_of({"x": np.array([[0, 255], [128, 0]], np.uint8)})
    3
    """
    seen, rows = np.zeros(256, bool), length(split)
    require_name(variable, read(split, np.arange(1)), "variable")
    for first in range(0, min(rows, _ROWS) if isinstance(split, Opened) else rows, _ROWS):
        images = read(split, np.arange(first, min(first + _ROWS, rows)))[variable]
        if images.dtype != np.uint8:
            raise TypeError(f"{variable!r} must hold 8-bit images, uint8, to have shades of grey; got {images.dtype}")
        seen[images.ravel()] = True
        if seen.all():
            break
    count = int(seen.sum())
    spread = count > 1 and np.array_equal(np.flatnonzero(seen), pixel_of(np.arange(count), count))
    return count if spread else 256
