"""The Gaussian that fits best, against SciPy's density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vifx import evaluation


def test_gaussian_nll_is_scipys_at_the_fitted_moments():
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(4, 4))
    train, test = generator.normal(size=(50, 4)) @ mixing + 3, generator.normal(size=(7, 4)) @ mixing
    fitted = stats.multivariate_normal(train.mean(axis=0), np.cov(train, rowvar=False, bias=True))
    np.testing.assert_allclose(evaluation.gaussian_nll(train, test), -fitted.logpdf(test), rtol=1e-10)


def test_no_other_gaussian_fits_the_training_points_better():
    train = np.random.default_rng(1).normal(size=(40, 3)) ** 3
    best = evaluation.gaussian_nll(train, train).mean()
    mean, covariance = train.mean(axis=0), np.cov(train, rowvar=False, bias=True)
    for factor in (0.9, 1.1):
        assert best < -stats.multivariate_normal(mean, factor * covariance).logpdf(train).mean()
        assert best < -stats.multivariate_normal(factor * mean + 0.1, covariance).logpdf(train).mean()


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.zeros((5, 2)), np.zeros((3, 3)), r"same dimensions, got \(5, 2\) and \(3, 3\)"),
        (np.zeros((5, 2, 2)), np.zeros((3, 2, 2)), "flatten images"),
        (np.ones((5, 2)), np.ones((3, 2)), r"singular covariance \(5 examples, 2 dimensions\)"),
    ],
)
def test_bad_points(train, test, message):
    with pytest.raises(ValueError, match=message):
        evaluation.gaussian_nll(train, test)
