"""A mean over examples with its standard error."""

from __future__ import annotations

__all__ = ["NORMAL_975", "Estimate", "minus"]

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NORMAL_975 = 1.959963984540054
"""The quantile of N(0, 1) that leaves 2.5 % above."""


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    """Per-example values and their mean, in the unit of the values.

    The standard error ``s / sqrt(n)`` (`s` with ``n - 1``) is over examples: how far the mean would move with other
    examples of the same distribution. It is not a number (NaN) for one example. With weights, of which ``p_i`` are the
    shares, the mean is ``Σ p_i v_i`` and its squared error ``Σ p_i² (v_i − mean)² / (1 − Σ p_i²)``, the same where
    weights are equal. ``float()`` is the mean, and a format such as
    ``f"{estimate:.1f}"`` applies to both numbers.

    Attributes:
      values: one value per example, shape ``[examples]``.
      note: a few words that stand as its meaning in a table, in place of what is known by its name.
      weights: how much each example counts, ``[examples]``, alike by default; a value of weight zero may be anything.

    >>> import numpy as np
    >>> Estimate(np.array([1.0, 2.0, 3.0]))
    Estimate(2.000 ± 0.577, of 3 examples)
    """

    values: NDArray[np.floating]
    note: str = ""
    weights: NDArray[np.number] | None = None

    @property
    def mean(self) -> float:
        """The mean over examples, accumulated in double precision."""
        values, weights = self._counted
        return float(np.sum(weights * values) / np.sum(weights))

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over examples."""
        values, weights = self._counted
        if len(values) < 2:
            return math.nan
        shares = weights / np.sum(weights)
        return float(np.sqrt(np.sum(np.square(shares * (values - self.mean))) / (1 - np.sum(shares**2))))

    @property
    def _counted(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values that count, and their weights."""
        values = np.asarray(self.values, np.float64)
        weights = np.ones(len(values)) if self.weights is None else np.asarray(self.weights, np.float64)
        return values[weights > 0], weights[weights > 0]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean, ``mean ∓ 1.96 standard errors``: normal, so for many examples."""
        half = NORMAL_975 * self.standard_error
        return self.mean - half, self.mean + half

    def noted(self, what: str, *, digits: int) -> Estimate:
        """Return the same with a note of what it is and of its 95 % interval, to so many `digits`."""
        low, high = (minus(f"{end:.{digits}f}") for end in self.interval)
        return replace(self, note=f"{what}; 95 % interval {low} to {high}")

    def __float__(self) -> float:
        return self.mean

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        return f"{self.mean:{spec}} ± {self.standard_error:{spec}}"

    def __str__(self) -> str:
        return format(self)

    def __repr__(self) -> str:
        note = f", {self.note}" if self.note else ""
        return f"Estimate({self}, of {len(self.values)} example{'s' if len(self.values) != 1 else ''}{note})"


def minus(number: str) -> str:
    """Return a number as it is printed: with a minus sign in place of the hyphen."""
    return number.replace("-", "−")
