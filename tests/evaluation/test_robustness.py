"""The curves over noise hold what was predicted."""

from __future__ import annotations

import numpy as np
import pytest

from vifx import evaluation
from vifx.evaluation import Predictions


def test_the_curves_hold_means_and_intervals():
    generator = np.random.default_rng(0)
    found = {
        size: Predictions(np.log(generator.dirichlet(np.ones(4), 50)), generator.integers(0, 4, 50))
        for size in (0.2, 0.0, 0.1)
    }
    figure = evaluation.noise_curves(found, unit="pixels")
    left, right = figure.axes
    ordered = [found[size] for size in (0.0, 0.1, 0.2)]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [each.accuracy.mean for each in ordered])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [each.nll.mean for each in ordered])
    np.testing.assert_allclose(right.lines[1].get_ydata(), np.log(4), rtol=1e-12)
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(min(each.accuracy.interval[0] for each in ordered), rel=1e-12)
    assert left.get_xlabel() == "standard deviation of the noise, pixels"
    with pytest.raises(ValueError, match="at least two sizes of noise"):
        evaluation.noise_curves({0.0: found[0.0]})
