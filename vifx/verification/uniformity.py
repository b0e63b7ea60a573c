"""Whether ranks are uniform: tests of their location, of their spread and of their histogram."""

from __future__ import annotations

__all__ = ["TESTS", "RankTests", "rank_tests"]

from collections.abc import Mapping
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
    scores = stats.norm.ppf((np.arange(draws + 1) + 0.5) / (draws + 1))
    scores /= np.sqrt(np.mean(scores**2))
    own = scores[ranks]
    square = float(np.sum(own**2))
    # A sum of squares has the mean n and the variance n (E s⁴ − 1), both exactly; with many draws it is a χ² of n.
    spread = float(np.mean(scores**4) - 1)
    gamma = stats.gamma(count / spread, scale=spread)
    bins = np.array_split(np.arange(draws + 1), min(20, draws + 1, max(2, count // 10)))
    edges = np.cumsum([len(each) for each in bins])
    seen = np.bincount(np.searchsorted(edges, ranks, side="right"), minlength=len(bins))
    expected = np.array([len(each) for each in bins]) * count / (draws + 1)
    return RankTests(
        {
            "bias": float(2 * stats.norm.sf(abs(np.sum(own)) / np.sqrt(count))),
            "width": float(min(1.0, 2 * min(gamma.sf(square), gamma.cdf(square)))),
            "shape": float(stats.chi2.sf(np.sum((seen - expected) ** 2 / expected), len(bins) - 1)),
        },
        float(np.sqrt(square / count)),
    )
