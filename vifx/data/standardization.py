"""Columns of a table in units of their own spread, and back."""

from __future__ import annotations

__all__ = ["Standardization"]

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Standardization(NamedTuple):
    """The affine map z = (x − m) / s of each column, by which training rows have mean 0 and standard deviation 1.

    A log-density of z in nats is one of x after Σ log s has been taken off, ``log_scale``.

    Attributes:
      names: of the columns.
      location: m, of each column.
      scale: s, of each column, positive: the root of the mean squared distance of the training rows from m.

    >>> map = Standardization.of(np.array([[1.0, 10.0], [3.0, 50.0]]), ("a", "b"))
    >>> map.standardize(np.array([[2.0, 50.0]])).tolist(), map.restore(np.array([[0.0, 1.0]])).tolist()
    ([[0.0, 1.0]], [[2.0, 50.0]])
    """

    names: tuple[str, ...]
    location: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, x: ArrayLike, names: Sequence[str]) -> Standardization:
        """Return the map of the rows ``x``, ``[examples, columns]``.

        Raises:
          ValueError: if a column is constant; the message names it.
        """
        rows = np.asarray(x, np.float64)
        location = rows.mean(axis=0)
        scale = np.sqrt(np.mean((rows - location) ** 2, axis=0))
        for name, column, spread in zip(names, rows.T, scale, strict=True):
            # Rounding of the mean alone makes a spread of this size.
            if column.min() == column.max() or not spread > 4 * np.finfo(np.float64).eps * np.abs(column).max():
                raise ValueError(
                    f"column {name!r} must vary over the training rows to be standardized, got {column[0]:g} in all of "
                    f"them; leave it out with columns, or do not standardize"
                )
        return cls(tuple(names), tuple(location.tolist()), tuple(scale.tolist()))

    @property
    def log_scale(self) -> float:
        """Σ log s, in nats."""
        return float(np.log(self.scale).sum())

    def standardize(self, x: ArrayLike) -> NDArray[np.float32]:
        """Return rows in units of their spread, float32 ``[examples, columns]``."""
        return ((np.asarray(x, np.float64) - np.array(self.location)) / np.array(self.scale)).astype(np.float32)

    def restore(self, z: ArrayLike) -> NDArray[Any]:
        """Return rows in the units of the table, float64 ``[examples, columns]``."""
        return np.asarray(z, np.float64) * np.array(self.scale) + np.array(self.location)
