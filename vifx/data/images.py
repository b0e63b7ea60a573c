"""8-bit images as models take them: real numbers, or vectors of pixels, of principal components, of zeros and ones."""

from __future__ import annotations

__all__ = ["Dequantized", "Embedding", "Features", "Pixels", "binarized", "embedding", "mapped", "scaled", "stacked"]

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.data.dataset import Dataset, Split
from vifx.data.pca import Pca, pca
from vifx.data.shades import shades_of
from vifx.data.transforms import dequantize, fixed_binarization


class Pixels(NamedTuple):
    """Images as vectors of pixels in [0, 1]: what `pca` is where all of them are kept.

    Attributes:
      shape: of an image.
    """

    shape: tuple[int, ...]

    def project(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return 8-bit images as float32 vectors ``[examples, pixels]``, in units of a white pixel."""
        return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)

    def restore(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return vectors as images ``[examples, *shape]``."""
        return x.reshape(len(x), *self.shape)


class Dequantized(NamedTuple):
    """Images as vectors of real numbers (k + u)/S in (0, 1), of which a density bounds the probability of the shades k.

    The noise u is drawn once: a split has the same at every call.

    Attributes:
      shape: of an image.
      shades: S, how many shades of grey there are.
    """

    shape: tuple[int, ...]
    shades: int

    def project(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return 8-bit images as float32 vectors ``[examples, pixels]``, as `data.dequantize` makes them."""
        noise = jax.random.key(len(images))  # so that splits of other sizes have other noise
        real = dequantize(shades=self.shades)(noise, {"x": jnp.asarray(images)})["x"]
        return np.asarray(real).reshape(len(images), -1)

    def restore(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return vectors as images ``[examples, *shape]`` of their shades; 0 is black and 1 white."""
        shade = np.clip(np.floor(self.shades * np.asarray(x)), 0, self.shades - 1)
        return (shade / (self.shades - 1)).reshape(len(x), *self.shape)


Features: TypeAlias = int | Literal["pixels", "dequantized"]
"""What of images a model is of: as many principal components, their pixels in [0, 1], or the same dequantized."""


Embedding: TypeAlias = Pca | Pixels | Dequantized
"""A map from images to what a model is of, and back."""


def embedding(images: NDArray[Any], features: Features) -> Embedding:
    """Return the map from images to what a model is of, and back."""
    if features == "pixels":
        return Pixels(images.shape[1:])
    if features == "dequantized":
        return Dequantized(images.shape[1:], shades_of({"x": images}))
    return pca(images, features)


def mapped(splits: Dataset, function: Callable[[NDArray[Any]], NDArray[Any]], *, name: str = "x") -> Dataset:
    """Return a data set with one variable replaced in every split.

    Args:
      function: from the variable's array, examples first, to the new one.
    """
    train = {**splits.train, name: function(splits.train[name])}
    shape = train[name].shape[1:]

    def of(split: Split) -> Split:
        empty = np.empty((0, *shape), train[name].dtype)
        return {**split, name: function(split[name]) if len(split[name]) else empty}

    info = dataclasses.replace(splits.info, shape=shape, low=-math.inf, high=math.inf)
    return Dataset(train, of(splits.validation), of(splits.test), info)


def binarized(splits: Dataset) -> Dataset:
    """Return 8-bit images as vectors of zeros and ones, drawn once with the grey as the probability of a one."""
    parts = (splits.train, splits.validation, splits.test)
    train, validation, test = (fixed_binarization(split, seed) for seed, split in enumerate(parts))
    return mapped(Dataset(train, validation, test, splits.info), lambda x: x.reshape(len(x), -1))


def scaled(split: Split, *, low: float = 0.0) -> Split:
    """Return a split with its 8-bit images ``x`` real, `low` for black to 1 for white, as `data.normalize` has them."""
    return {**split, "x": np.linspace(low, 1.0, 256).astype(np.float32)[split["x"]]}


def stacked(splits: Dataset, *, seed: int = 0) -> Dataset:
    """Return a data set whose images are three of another one as colour channels: with 10 classes it has 1,000 modes.

    Each split has as many images as before, of three that are drawn from it alone, and the label ``y`` is the number
    with the three labels as its digits, ``classes² a + classes b + c``.

    Args:
      splits: grey images ``x``, uint8 ``[examples, height, width, 1]``, with labels ``y``, in memory.
      seed: of the draws.

    Raises:
      ValueError: if the images are not grey, or have no labels.

    Reference: Srivastava et al., VEEGAN, 2017; Metz et al., Unrolled generative adversarial networks, 2017.
    """
    classes, shape = splits.info.classes, splits.info.shape
    if classes is None or len(shape) != 3 or shape[-1] != 1:
        raise ValueError(
            f"splits must be grey images with labels, got {splits}; give images [height, width, 1] with y."
        )
    generator = np.random.default_rng(seed)

    def of(split: Split) -> Split:
        chosen = generator.integers(0, max(1, len(split["x"])), (3, len(split["x"])))
        x = np.concatenate([split["x"][rows] for rows in chosen], axis=-1)
        a, b, c = (split["y"][rows] for rows in chosen)
        return {"x": x, "y": (classes**2 * a + classes * b + c).astype(np.int32)}

    info = dataclasses.replace(splits.info, shape=(*shape[:2], 3), classes=classes**3, label_names=())
    return Dataset(of(splits.train), of(splits.validation), of(splits.test), info)
