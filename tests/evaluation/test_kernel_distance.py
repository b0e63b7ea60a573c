"""KID against scikit-learn's kernel, its variance against trials, and its error against equal distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics.pairwise import polynomial_kernel

from vifx import evaluation


def draws(seed, n=80, features=4):
    return np.random.default_rng(seed).normal(size=(2, n, features))


def moved(seed, **size):
    a, b = draws(seed, **size)
    return a, 1.3 * b + 0.4


def test_the_mean_over_pairs_and_its_variance_by_enumeration(monkeypatch):
    """The unbiased estimates, term by term over tuples of different indices; blocks of rows change nothing."""
    monkeypatch.setattr("vifx.evaluation.kernel_distance._ROWS", 4)
    a, b = moved(0, n=9)
    k = lambda x, y: polynomial_kernel(x, y, degree=3, gamma=1 / 4, coef0=1)  # noqa: E731
    h = k(a, a) + k(b, b) - k(a, b) - k(b, a)
    index = range(9)
    pairs = [h[i, j] for i in index for j in index if i != j]
    shared = [h[i, j] * h[i, l] for i in index for j in index for l in index if len({i, j, l}) == 3]  # noqa: E741
    apart = [
        h[i, j] * h[l, m]
        for i in index
        for j in index
        for l in index  # noqa: E741
        for m in index
        if len({i, j, l, m}) == 4
    ]
    one, two = np.mean(shared) - np.mean(apart), np.mean(np.square(pairs)) - np.mean(apart)
    found = evaluation.kid(a, b)
    assert found.value == pytest.approx(np.mean(pairs), rel=1e-10)
    assert found.standard_error == pytest.approx(np.sqrt((4 * 7 * one + 2 * two) / 72), rel=1e-8)
    assert found.null_error == pytest.approx(np.sqrt(2 * two / 72), rel=1e-8)
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(found.value)
    assert (high - low) / found.standard_error == pytest.approx(2 * 1.959964, rel=1e-6)


@pytest.mark.thorough
def test_of_equal_distributions_it_is_zero_as_often_as_it_says():
    found = [evaluation.kid(*draws(seed)) for seed in range(400)]
    values, nulls = (np.array([getattr(each, name) for each in found]) for name in ("value", "null_error"))
    assert abs(values.mean()) < 4.3 * values.std() / 20
    told_apart = np.abs(values) > 1.96 * nulls
    assert binomtest(int(told_apart.sum()), 400, 0.05).pvalue > 1e-4
    assert np.mean([low <= 0 <= high for low, high in (each.interval for each in found)]) >= 0.95
    assert np.sqrt(np.mean(nulls**2)) == pytest.approx(values.std(), rel=0.2)


@pytest.mark.thorough
def test_of_different_ones_the_error_is_that_of_trials_and_not_the_null_one():
    found = [evaluation.kid(*moved(seed)) for seed in range(400)]
    values, errors = (np.array([getattr(each, name) for each in found]) for name in ("value", "standard_error"))
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.15)
    assert np.mean([each.null_error for each in found]) < 0.7 * values.std()
    assert np.mean(values > 1.96 * np.array([each.null_error for each in found])) > 0.95


@pytest.mark.thorough
def test_it_has_no_bias_where_the_frechet_distance_has_one():
    few = [draws(seed, n=20) for seed in range(300)]
    values = np.array([evaluation.kid(*each).value for each in few])
    assert abs(values.mean()) < 4.3 * values.std() / np.sqrt(300)
    assert np.mean([evaluation.frechet_distance(*each) for each in few]) > 0.2


def test_too_few_or_unequal_rows_are_refused():
    with pytest.raises(ValueError, match="at least 4 rows each, got 3"):
        evaluation.kid(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"equally many rows.*got 5 and 6; take equal subsets"):
        evaluation.kid(np.zeros((5, 2)), np.zeros((6, 2)))
