"""KID: the squared maximum mean discrepancy of features under the cubic polynomial kernel, with its error."""

from __future__ import annotations

__all__ = ["Kid", "kid"]

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.estimate import NORMAL_975, minus
from vifx.evaluation.feature_rows import feature_rows, require_equal_size

_ROWS = 256  # rows of a matrix of kernels held at a time; the others are in cache


class Kid(NamedTuple):
    """A squared maximum mean discrepancy and how well it is known.

    Attributes:
      value: the unbiased estimate: 0 on average for two samples of one distribution, and so below 0 for half of them.
      standard_error: of the value over draws of either set. For equal distributions it is too large, at most twice, so
        that intervals are wide rather than narrow.
      null_error: the standard deviation that the value would have if the distributions were equal: the two are told
        apart where the value is above ``1.96 null_error``.
    """

    value: float
    standard_error: float
    null_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, ``value ∓ 1.96 standard errors``; it holds 0 for at least 19 in 20 pairs of equal ones."""
        half = NORMAL_975 * self.standard_error
        return self.value - half, self.value + half

    @property
    def note(self) -> str:
        """The interval in words."""
        low, high = (minus(f"{end:.3g}") for end in self.interval)
        return f"unbiased, 95 % interval {low} to {high}"


def kid(a: ArrayLike, b: ArrayLike) -> Kid:
    """Return the unbiased squared maximum mean discrepancy of two sets of features ``[n, features]``, as KID has it.

    The kernel is ``k(x, y) = (x·y / features + 1)³``. With ``h_ij = k(a_i, a_j) + k(b_i, b_j) − k(a_i, b_j) − k(a_j,
    b_i)`` the estimate is the mean of ``h_ij`` over all ``i ≠ j``, a U-statistic: unlike the Fréchet distance it has
    no bias at any n, and it sees three moments and not two. Its variance is ``(4 (n − 2) ζ₁ + 2 ζ₂) / (n (n − 1))``
    with ``ζ₁ = Var E[h_12 | 1]`` and ``ζ₂ = Var h_12``, of which unbiased estimates come from the same ``h_ij``.
    Where the distributions are equal ζ₁ is 0, the statistic is degenerate, and ζ₂ alone gives the error (a jackknife,
    which estimates ζ₁ alone, would be wrong); an estimate of ζ₁ below 0 is taken as 0.

    Kernels are computed a block of rows at a time in double precision: 10,000 by 10,000 rows of 128 features take a few
    seconds and little memory.

    Args:
      a: for instance of samples.
      b: for instance of data, as many rows.

    Raises:
      ValueError: if the sets differ in size, or have fewer than four rows, which the variance needs.

    References:
      Bińkowski, Sutherland, Arbel and Gretton, Demystifying MMD GANs, 2018; Gretton et al., A kernel two-sample test,
      2012, lemma 6; Sutherland and Deka, Unbiased estimators for the variance of MMD estimators, 2019.

    >>> kid([[0.0], [0.0], [0.0], [0.0]], [[1.0], [1.0], [1.0], [1.0]]).value  # 1 + 2³ − 2
    7.0
    """
    a, b = feature_rows(a, "a"), feature_rows(b, "b")
    require_equal_size(a, b, "a", "b", least=4)
    n = len(a)
    rows, squares = np.empty(n), 0.0
    for first in range(0, n, _ROWS):
        block = slice(first, min(first + _ROWS, n))
        h = _kernel(a[block], a)
        h += _kernel(b[block], b)
        h -= _kernel(a[block], b)
        h -= _kernel(b[block], a)
        np.fill_diagonal(h[:, first:], 0.0)
        rows[block] = h.sum(axis=1)
        squares += float(np.vdot(h, h))
    pairs = n * (n - 1)
    total, shared = float(rows.sum()), float(np.vdot(rows, rows)) - squares
    # Means over pairs that share one index, and over pairs that share none.
    one = shared / (pairs * (n - 2))
    none = (total**2 - 4 * shared - 2 * squares) / (pairs * (n - 2) * (n - 3))
    degenerate = 2 * max(squares / pairs - none, 0.0) / pairs
    variance = 4 * (n - 2) * max(one - none, 0.0) / pairs + degenerate
    return Kid(total / pairs, math.sqrt(variance), math.sqrt(degenerate))


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = a @ (b.T / b.shape[1])
    inner += 1
    cube = inner * inner
    cube *= inner
    return cube
