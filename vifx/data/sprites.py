"""Images of single shapes in any number: each is made when it is read, and none is stored."""

from __future__ import annotations

__all__ = ["SHAPES", "Sprites", "draw_shapes", "load_sprites", "uniforms"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require_integer
from vifx.data.data_config import Config
from vifx.data.dataset import Dataset, Info
from vifx.data.opened import Opened
from vifx.data.rows import read_all

SHAPES = ("ellipse", "square", "heart")
"""What `y` counts, in its order."""
_PIXELS, _PATCH, _RADIUS = 64, 32, 14.0
_ALL, _TEST, _MOST = 5_000_000, 5_000, 50_000
_TEST_FROM = 2**40
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_DRAWN = 5


class Sprites:
    """A random-access sequence of grey images 64×64 of an ellipse, a square or a heart, white on black.

    Image i is a function of (seed, i) alone: its five factors are uniform numbers of a counter, and its pixels are the
    share of each that the shape covers, in 256 shades. So a data set of any size takes no memory and no disk, and any
    of its parts is a range of numbers. An example is

    * ``x``, the image, uint8 ``[64, 64, 1]``;
    * ``y``, the shape: 0 for an ellipse, 1 for a square, 2 for a heart, each with probability ⅓, int32;
    * ``factors``, float32 ``[4]``: the size, from ½ to 1, where 1 means a circumscribed circle of radius 14 pixels; the
      angle, from 0 to 2π, counterclockwise; and the column and the row of the centre, in [16, 48) pixels from the upper
      left corner of the image.

    Attributes:
      seed: of the numbers.
      first: the number of the first image.

    Args:
      size: how many images there are: `first` to ``first + size − 1``.
      seed: see above.
      first: see above.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if one is out of range.

    References: Matthey, Higgins, Hassabis & Lerchner, dSprites: disentanglement testing sprites dataset, 2017, for the
    kind of images and factors; Steele, Lea & Flood, Fast splittable pseudorandom number generators, 2014, for the
    numbers.

    >>> sprites = Sprites(10**9, seed=0)
    >>> sprites[123_456_789]["x"].shape, SHAPES[sprites[123_456_789]["y"]]
    ((64, 64, 1), 'square')
    """

    def __init__(self, size: int, *, seed: int = 0, first: int = 0) -> None:
        self._size = require_integer(size, "size")
        self.seed = require_integer(seed, "seed", least=0, most=2**32 - 1)
        self.first = require_integer(first, "first", least=0, most=2**60)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        return {name: array[0] for name, array in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return images, stacked."""
        rows = np.asarray(indices, np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < self._size):
            raise IndexError(f"indices must be from 0 to {self._size - 1}, got {indices}")
        drawn = uniforms(self.seed, rows.astype(np.uint64) + np.uint64(self.first), _DRAWN)
        y = (3 * drawn[:, 0]).astype(np.int32)
        size, angle = 0.5 + 0.5 * drawn[:, 1], 2 * np.pi * drawn[:, 2]
        centre = (_PATCH * (0.5 + drawn[:, 3:])).clip(max=np.nextafter(_PIXELS - _PATCH / 2, 0, dtype=np.float32))
        factors = np.column_stack([size, angle, centre]).astype(np.float32)
        return {"x": draw_shapes(y, factors), "y": y, "factors": factors}


def uniforms(seed: int, counters: NDArray[np.uint64], count: int) -> NDArray[Any]:
    """Return numbers in [0, 1), ``[len(counters), count]``: those of counter c are functions of (seed, c)."""
    start = _mixed(np.array([seed], np.uint64) * _GAMMA + _GAMMA)
    position = counters[:, None] * np.uint64(count) + np.arange(1, count + 1, dtype=np.uint64)
    return (_mixed(start + position * _GAMMA) >> np.uint64(11)) * 2.0**-53


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output function of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def draw_shapes(y: NDArray[np.int32], factors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return images ``[n, 64, 64, 1]`` of shapes y ``[n]`` with factors ``[n, 4]``."""
    images = np.zeros((len(y), _PIXELS, _PIXELS, 1), np.uint8)
    corner = factors[:, 2:].astype(np.int64) - _PATCH // 2  # of the part that the shape lies in
    offset = factors[:, 2:] - corner
    grid = np.arange(_PATCH, dtype=np.float32) + np.float32(0.5)
    radius = np.float32(_RADIUS) * factors[:, 0]
    cos, sin = (f(factors[:, 1].astype(np.float64)).astype(np.float32) / radius for f in (np.cos, np.sin))
    windows = np.lib.stride_tricks.sliding_window_view(images[..., 0], (_PATCH, _PATCH), axis=(1, 2), writeable=True)
    for shape, distance in enumerate((_ellipse, _square, _heart)):
        rows = np.flatnonzero(y == shape)
        right = (grid - offset[rows, :1])[:, None, :]
        up = (offset[rows, 1:] - grid)[:, :, None]
        c, s, r = (value[rows, None, None] for value in (cos, sin, radius))
        outside = r * distance(c * right + s * up, c * up - s * right)
        covered = np.clip(np.float32(128.0) - np.float32(255.0) * outside, 0, 255)
        windows[rows, corner[rows, 1], corner[rows, 0]] = covered.astype(np.uint8)
    return images


def _ellipse(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Return about the distance from an ellipse with semi-axes 1 and 0.6, below 0 inside it."""
    narrow, tiny = v / np.float32(0.6), np.float32(1e-12)
    level = np.sqrt(u * u + narrow * narrow) + tiny
    slope = np.sqrt(u * u + (narrow / np.float32(0.6)) ** 2) + tiny
    return (level - 1) * level / slope


def _square(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Return the distance from a square with corners at distance 1, below 0 inside it."""
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(np.sqrt(0.5))


def _heart(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Return the distance from a heart, a square that stands on a corner and a disc at each upper side, below 0 inside.

    In the coordinates of the square, which are turned by 45°, its centre is at (−0.3, −0.3) half-sides.
    """
    half = np.float32(1 / (1.3 * np.sqrt(2)))
    turned = np.float32(np.sqrt(0.5))
    p, q = turned * (v + u) + np.float32(0.3) * half, turned * (v - u) + np.float32(0.3) * half
    found = np.maximum(np.abs(p), np.abs(q)) - half
    for a, b in ((p, q), (q, p)):
        found = np.minimum(found, np.sqrt((a - half) ** 2 + b * b) - half)
    return found


def load_sprites(config: Config) -> Dataset:
    """Return 5,000,000 sprites, of which `config.validation` are held out, and 5,000 others to test on.

    The seed is `config.split_seed`. The images to train on, which would be 20 GB, are made when they are read; those
    held out are the last ones.

    Raises:
      ValueError: if `config.streaming` is not set, or more than 50,000 are held out, which are in memory.
    """
    if not config.streaming:
        stored = f"its images would take {_ALL * _PIXELS**2 / 1e9:.0f} GB, and are made when they are read"
        raise config.refused("streaming", f"must be set for sprites: {stored}")
    given = config.validation
    held = int(given * _ALL + 0.5) if isinstance(given, float) else given
    if held > _MOST:
        sentence = f"must be at most {_MOST:,} sprites, which are held out in memory, got {given} of {_ALL:,}"
        raise config.refused("validation", f"{sentence}; give a number such as 5000")
    parts: Mapping[str, Sprites] = {
        "train": Sprites(_ALL - held, seed=config.split_seed),
        "validation": Sprites(max(held, 1), seed=config.split_seed, first=_ALL - max(held, 1)),
        "test": Sprites(_TEST, seed=config.split_seed, first=_TEST_FROM),
    }
    validation = {name: array[:held] for name, array in read_all(parts["validation"]).items()}
    info = Info(config.name, (_PIXELS, _PIXELS, 1), len(SHAPES), 0.0, 255.0, SHAPES)
    return Dataset(Opened(parts["train"], config.name), validation, read_all(parts["test"]), info)
