"""The kernel density estimate against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from vifx import evaluation

SAMPLES, POINTS, HELD = np.random.default_rng(0).normal(size=(3, 600, 2, 3))


def test_is_that_of_scikit_learn_with_the_best_bandwidth():
    tried = (0.05, 0.3, 0.6, 3.0)
    found = evaluation.kernel_density(SAMPLES[:300], POINTS, validation=HELD, bandwidths=tried)

    def other(bandwidth, points):
        return (
            KernelDensity(bandwidth=bandwidth).fit(SAMPLES[:300].reshape(300, 6)).score_samples(points.reshape(-1, 6))
        )

    best = max(tried, key=lambda h: other(h, HELD).mean())
    assert found.bandwidth == best == 0.6
    np.testing.assert_allclose(found.log_prob.values, other(best, POINTS), rtol=1e-9)
    assert found.log_prob.note == "kernel density of 300 samples, h = 0.6: weak, no bound"
    default = evaluation.kernel_density(SAMPLES[:300], POINTS, validation=HELD)
    assert default.log_prob.mean >= found.log_prob.mean - 0.05
    assert abs(default.bandwidth - 0.6) < 0.25


@pytest.mark.thorough
def test_wrong_arguments():
    with pytest.raises(ValueError, match="must have one event shape, and some of each"):
        evaluation.kernel_density(SAMPLES, POINTS[:, :1], validation=HELD)
    with pytest.raises(ValueError, match="must have one event shape, and some of each"):
        evaluation.kernel_density(SAMPLES[:0], POINTS, validation=HELD)
    with pytest.raises(ValueError, match="bandwidths must be a finite number > 0"):
        evaluation.kernel_density(SAMPLES, POINTS, validation=HELD, bandwidths=(0.0,))
