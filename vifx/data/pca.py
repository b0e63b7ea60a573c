"""Principal components of images, as evidence in fewer dimensions."""

from __future__ import annotations

__all__ = ["Pca", "pca"]

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer

_ROWS = 4096


class Pca(NamedTuple):
    """The orthogonal map from images to their leading principal components, and back.

    Attributes:
      mean: of the pixels, divided by 255, ``[dimensions]``.
      axes: orthonormal rows, by decreasing variance, ``[features, dimensions]``.
      variance: of the components, ``[features]``.
      share: how much of the total variance they hold.
      shape: the shape of an image.
    """

    mean: NDArray[Any]
    axes: NDArray[Any]
    variance: NDArray[Any]
    share: float
    shape: tuple[int, ...]

    def project(self, images: ArrayLike) -> NDArray[np.float32]:
        """Return the components of 8-bit images, float32 ``[examples, features]``, in units of a white pixel."""
        flat = _flat(images)
        parts = [flat[i : i + _ROWS].astype(np.float32) / 255 - self.mean for i in range(0, len(flat), _ROWS)]
        return np.concatenate([part @ self.axes.T for part in parts]).astype(np.float32)

    def restore(self, components: ArrayLike) -> NDArray[Any]:
        """Return the images ``[examples, *shape]`` of components ``[examples, features]``; 0 is black and 1 white."""
        flat = np.asarray(components) @ self.axes + self.mean
        return flat.reshape(len(flat), *self.shape)


def pca(images: ArrayLike, features: int) -> Pca:
    """Find the leading principal components of 8-bit images, by the eigenvectors of their covariance.

    Args:
      images: uint8, ``[examples, ...]``.
      features: how many components; each axis has a positive sum, so that the result is unique.

    Raises:
      TypeError: if the images are not uint8.
      ValueError: if `features` is not between 1 and the number of pixels and of examples less one.

    References: Pearson (1901); Hotelling (1933).
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"pca needs uint8 pixels 0 .. 255, got {images.dtype}; give the images as they are stored")
    flat = _flat(images)
    most = min(len(flat) - 1, flat.shape[1])
    require_integer(features, "features", most=most)
    mean: NDArray[Any] = np.asarray(np.mean(flat, axis=0, dtype=np.float64)) / 255
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for i in range(0, len(flat), _ROWS):
        part = (flat[i : i + _ROWS] / 255 - mean).astype(np.float32)
        covariance += part.T @ part
    values, vectors = np.linalg.eigh(covariance / len(flat))
    axes, variance = vectors.T[::-1][:features], np.maximum(values[::-1][:features], 0)
    axes = axes * np.where(axes.sum(axis=1) < 0, -1, 1)[:, None]
    share = float(variance.sum() / max(np.trace(covariance) / len(flat), np.finfo(float).tiny))
    return Pca(np.asarray(mean, np.float32), np.asarray(axes, np.float32), variance, share, images.shape[1:])


def _flat(images: ArrayLike) -> NDArray[Any]:
    array = np.asarray(images)
    return array.reshape(len(array), math.prod(array.shape[1:]))
