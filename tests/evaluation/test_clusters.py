"""Clusters against labels, and the figures of components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.cluster import contingency_matrix

from vifx import evaluation
from vifx.evaluation import Estimate


def test_purity_is_that_of_the_contingency_matrix():
    generator = np.random.default_rng(0)
    assigned, labels = generator.integers(0, 7, 200), generator.integers(0, 4, 200)
    counts = contingency_matrix(labels, assigned)
    assert evaluation.cluster_purity(assigned, labels) == pytest.approx(counts.max(axis=0).sum() / 200)
    assert evaluation.cluster_purity(np.arange(9), np.zeros(9, int)) == 1.0


def test_accuracy_calls_by_the_training_majority_and_where_there_is_none_by_all():
    train = ([0, 0, 0, 2], [1, 1, 0, 1])
    right = evaluation.cluster_accuracy(train, ([0, 0, 1, 2, 5], [1, 0, 1, 0, 1]))
    np.testing.assert_array_equal(right, [1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("assigned", "labels", "message"),
    [
        ([0, 1], [0], "one for each example"),
        ([-1, 0], [0, 1], "assignments must be integers from 0"),
        ([0, 1], [0.5, 1.0], "labels must be integers from 0"),
        ([], [], "integers from 0"),
    ],
)
def test_bad_clusters_are_refused(assigned, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluation.cluster_purity(assigned, labels)
    with pytest.raises(ValueError, match="one for each example"):
        evaluation.cluster_accuracy(([0], [0]), ([0, 0], [0]))


def test_component_images_hold_the_images_and_their_captions():
    means = np.random.default_rng(0).uniform(size=(6, 4, 4, 1))
    figure = evaluation.component_images(means, [f"{k} %" for k in range(6)], limits=(0.0, 2.0))
    assert [axes.texts[0].get_text() for axes in figure.axes] == [f"{k} %" for k in range(6)]
    for axes, mean in zip(figure.axes, means, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), mean[..., 0] / 2)
    columns = len({round(axes.get_position().x0, 6) for axes in figure.axes})
    assert columns == 3


def test_model_choice_marks_the_least_and_shows_intervals():
    held = {k: Estimate(np.arange(10.0) - k) for k in (4, 2, 8)}
    figure = evaluation.model_choice({2: 3.0, 4: 1.0, 8: 2.0}, held)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[2, 3], [4, 1], [8, 2]])
    assert left.texts[0].get_text() == "least at 4"
    np.testing.assert_allclose(right.lines[0].get_ydata(), [2.5, 0.5, -3.5])
    half = held[2].interval[1] - held[2].mean
    np.testing.assert_allclose(np.ptp(right.collections[0].get_segments()[0][:, 1]), 2 * half)


def test_state_timeline_draws_the_probability_over_the_truth():
    probability = np.random.default_rng(0).uniform(size=(2, 5))
    truth = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 0]], bool)
    figure = evaluation.state_timeline(probability, truth)
    for axes, own, held in zip(figure.axes, probability, truth, strict=True):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), own)
        assert len(axes.collections[0].get_paths()) == np.sum(np.diff(np.r_[0, held]) == 1)


def test_probability_bars_have_the_probabilities():
    figure = evaluation.probability_bars({"learned": [0.2, 0.8], "true": [0.3, 0.7]}, ["a", "b"])
    heights = [bar.get_height() for bars in figure.axes[0].containers for bar in bars]
    assert heights == [0.2, 0.8, 0.3, 0.7]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.component_images(np.zeros((2, 3, 3)), ["one"]), "1 captions"),
        (lambda: evaluation.component_images(np.zeros((2, 3)), ["a", "b"]), "shape"),
        (lambda: evaluation.model_choice({}, {}), "same numbers"),
        (lambda: evaluation.state_timeline(np.zeros((2, 3)), np.zeros((2, 4))), "one shape"),
        (lambda: evaluation.probability_bars({"a": [0.5]}, ["x", "y"]), "2 probabilities"),
    ],
)
def test_bad_figures_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
