"""Histograms of ranks: their counts, their band, and its probability."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from vifx.evaluation import rank_histograms
from vifx.evaluation.style import STYLE


def test_the_band_has_its_probability():
    """Uniform ranks of 50,000 calibrations stay in it: more than 95 % of the time, and less than 97 %."""
    counts = np.random.default_rng(0).multinomial(500, np.full(20, 1 / 20), 50_000)
    low, high = rank_histograms.rank_band(500, np.full(20, 1 / 20), level=0.95)
    assert 0.95 < np.mean(((counts >= low) & (counts <= high)).all(axis=1)) < 0.97
    one = scipy.stats.binom(500, 1 / 20)
    assert one.cdf(low[0] - 1) < 0.05 / 40 <= one.cdf(low[0])


def test_the_bars_are_the_counts():
    """Of 12 ranks in four bins of three, one of which is empty and one outside the band."""
    ranks = {"rate": np.array([0, 1, 2, 3, 3, 9, 9, 9, 10, 10, 11, 11]), "size": np.arange(12)}
    figure = rank_histograms.rank_histograms(ranks, 11, bins=4, level=0.6, title="Ranks")
    heights = [[bar.get_height() for bar in axes.patches if hasattr(bar, "get_height")] for axes in figure.axes]
    assert heights[0] == [3, 2, 0, 7]
    assert heights[1] == [3, 3, 3, 3]
    low, high = rank_histograms.rank_band(12, np.full(4, 0.25), level=0.6)
    assert low[0] > 0
    assert high[0] < 7
    bars = [bar for bar in figure.axes[0].patches if hasattr(bar, "get_height")]
    red = [bar.get_facecolor()[:3] == pytest.approx(matplotlib_colour(STYLE.bad)) for bar in bars]
    assert red == [False, False, True, True]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["rate", "size"]


def matplotlib_colour(text):
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({}, "ranks is empty"),
        ({"a": np.array([0, 12])}, r"must be integers \[simulations\] from 0 to 11, got the shape \[2\]"),
        ({"a": np.zeros((2, 2), int)}, r"got the shape \[2, 2\]"),
    ],
)
def test_bad_input(ranks, message):
    with pytest.raises(ValueError, match=message):
        rank_histograms.rank_histograms(ranks, 11)
