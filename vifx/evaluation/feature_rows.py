"""Rows of features ``[n, features]``: what they must be, and the squared distances between two sets of them."""

from __future__ import annotations

__all__ = ["centred", "feature_rows", "require_equal_size", "require_same_features", "squared_distances"]

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_unmasked

_ROWS = 512  # rows of a matrix of distances held at a time


def feature_rows(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return an array as rows in double precision, ``[n, features]``; images are flattened.

    Raises:
      ValueError: if it has no rows, or no features.
    """
    array = np.asarray(require_unmasked(values, name), dtype=np.float64)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{name} must be [n, features] with at least one row, got shape {array.shape}.")
    return array.reshape(len(array), -1)


def require_same_features(a: NDArray[Any], b: NDArray[Any], name_a: str, name_b: str) -> None:
    """Refuse two sets of rows that differ in their number of features.

    Raises:
      ValueError: if they do.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{name_a} and {name_b} must have equal features, got {a.shape[1]} and {b.shape[1]}.")


def require_equal_size(a: NDArray[Any], b: NDArray[Any], name_a: str, name_b: str, *, least: int = 1) -> None:
    """Refuse two sets of rows of unequal sizes, or of fewer than `least` rows.

    Raises:
      ValueError: if they are.
    """
    require_same_features(a, b, name_a, name_b)
    if len(a) != len(b):
        raise ValueError(
            f"{name_a} and {name_b} must have equally many rows because the value depends on the number, "
            f"got {len(a)} and {len(b)}; take equal subsets."
        )
    if len(a) < least:
        raise ValueError(f"{name_a} and {name_b} must have at least {least} rows each, got {len(a)}.")


def centred(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Subtract the mean of `b` from both, without which expanded squares would cancel far from the origin."""
    centre = b.mean(axis=0)
    return a - centre, b - centre


def squared_distances(a: NDArray[Any], b: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield (slice of rows of `a`, their squared distances to all of `b`), a block at a time, by matrix products.

    Squares are expanded, so that points have to be `centred`.
    """
    squared_b = np.sum(b**2, axis=1)
    for first in range(0, len(a), _ROWS):
        rows = slice(first, min(first + _ROWS, len(a)))
        squared = a[rows] @ (-2 * b.T)
        squared += np.sum(a[rows] ** 2, axis=1)[:, None]
        squared += squared_b
        yield rows, np.maximum(squared, 0, out=squared)
