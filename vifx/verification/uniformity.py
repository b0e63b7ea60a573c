"""Whether ranks are uniform: tests of their location, of their spread and of their histogram."""

from __future__ import annotations

__all__ = ["TESTS", "RankTests", "pooled_width", "rank_tests"]

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TESTS = ("bias", "width", "shape")
"""The tests of `rank_tests`."""


class RankTests(NamedTuple):
    """What the tests of one quantity found.

    Attributes:
      p_values: by test.
      width: the root mean square of the normal scores, 1 for uniform ranks.
    """

    p_values: Mapping[str, float]
    width: float


def rank_tests(ranks: NDArray[Any], draws: int) -> RankTests:
    """Test that ranks are uniform on 0, …, draws; `vifx.verification.calibrate` says how.

    Args:
      ranks: integers, ``[simulations]``.
      draws: the largest rank.
    """
    from scipy import stats

    count = len(ranks)
    scores = _normal_scores(draws)
    own = scores[ranks]
    square = float(np.mean(own**2))
    # The mean of squares has the mean 1 and the variance (E s⁴ − 1)/n, both exactly.
    width = _two_sided(square, float(np.mean(scores**4) - 1) / count)
    bins = np.array_split(np.arange(draws + 1), min(20, draws + 1, max(2, count // 10)))
    edges = np.cumsum([len(each) for each in bins])
    seen = np.bincount(np.searchsorted(edges, ranks, side="right"), minlength=len(bins))
    expected = np.array([len(each) for each in bins]) * count / (draws + 1)
    return RankTests(
        {
            "bias": float(2 * stats.norm.sf(abs(np.sum(own)) / np.sqrt(count))),
            "width": width,
            "shape": float(stats.chi2.sf(np.sum((seen - expected) ** 2 / expected), len(bins) - 1)),
        },
        float(np.sqrt(square)),
    )


def pooled_width(ranks: Sequence[NDArray[Any]], draws: int) -> RankTests:
    """Test the widths of several quantities together, which may depend on each other.

    For each simulation, the squared normal scores are averaged over the quantities; the variance of these averages is
    that of the sample.

    Args:
      ranks: of each quantity, ``[simulations]``.
      draws: the largest rank.
    """
    means = np.mean(_normal_scores(draws)[np.stack(ranks)] ** 2, axis=0)
    square = float(np.mean(means))
    return RankTests({"width": _two_sided(square, float(np.var(means, ddof=1)) / len(means))}, float(np.sqrt(square)))


def _normal_scores(draws: int) -> NDArray[Any]:
    """Return ``Φ⁻¹((rank + ½)/(draws + 1))`` of each rank, in units of their standard deviation."""
    from scipy import stats

    scores = stats.norm.ppf((np.arange(draws + 1) + 0.5) / (draws + 1))
    return scores / np.sqrt(np.mean(scores**2))


def _two_sided(mean: float, variance: float) -> float:
    """Return the p-value of a mean of squares that should be 1, by a gamma distribution of that mean and variance."""
    from scipy import stats

    gamma = stats.gamma(1 / variance, scale=variance)
    return float(min(1.0, 2 * min(gamma.sf(mean), gamma.cdf(mean))))
