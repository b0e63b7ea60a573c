"""The two-sample test: its size on equal distributions, its power on others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, kstest
from sklearn.linear_model import LogisticRegression

from vifx import evaluation


def outcome(seed, shift=0.0, scale=1.0, n=100, **options):
    a, b = np.random.default_rng(seed).normal(size=(2, n, 3))
    return evaluation.classifier_two_sample_test(a, scale * b + shift, seed=seed, **options)


@pytest.mark.thorough
@pytest.mark.parametrize("classifier", [None, LogisticRegression()], ids=["neighbours", "logistic"])
def test_of_equal_distributions_it_errs_as_often_as_it_says(classifier):
    found = [outcome(seed, classifier=classifier) for seed in range(300)]
    for level in (0.05, 0.2):
        critical = binom.isf(level, 100, 0.5) + 1  # the level that a count can have
        exact = binom.sf(critical - 1, 100, 0.5)
        rejected = sum(each.p_value <= exact + 1e-12 for each in found)
        assert binomtest(rejected, 300, exact).pvalue > 1e-4
    accuracies = np.array([each.accuracy for each in found])
    assert abs(accuracies.mean() - 0.5) < 4.3 * found[0].null_error / np.sqrt(300)
    assert accuracies.std() == pytest.approx(found[0].null_error, rel=0.12)
    assert kstest([each.p_value for each in found], "uniform", alternative="greater").pvalue > 1e-4


def test_it_sees_what_its_classifier_sees():
    """A shift is seen by both; a spread by neighbours alone: the control that a linear classifier must fail."""
    assert outcome(0, shift=1.5).p_value < 1e-6
    linear = {"classifier": LogisticRegression()}
    assert outcome(0, shift=1.5, **linear).p_value < 1e-6
    assert outcome(0, scale=4.0, n=300).p_value < 1e-6
    assert outcome(1, scale=4.0, n=300, **linear).p_value > 1e-3
    found = outcome(0, shift=50.0)
    assert found.accuracy == 1.0
    assert found.p_value == pytest.approx(0.5**100)


def test_unequal_or_few_rows_are_refused():
    with pytest.raises(ValueError, match=r"equally many rows.*got 20 and 30; take equal subsets"):
        evaluation.classifier_two_sample_test(np.zeros((20, 2)), np.zeros((30, 2)))
    with pytest.raises(ValueError, match="at least 4 rows each, got 3"):
        evaluation.classifier_two_sample_test(np.zeros((3, 2)), np.zeros((3, 2)))
