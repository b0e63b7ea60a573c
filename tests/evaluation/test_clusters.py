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
    captions = [f"{k} %" for k in range(6)]
    (axes,) = evaluation.image_grid(means, captions=captions, columns=3, title="Means").axes
    np.testing.assert_allclose([image.get_array() for image in axes.images], means[..., 0])
    written = {text.get_text(): text.get_position() for text in axes.texts}
    assert list(written) == [*captions, "Means"]
    places = {image.get_label(): image.get_extent() for image in axes.images}
    for k, caption in enumerate(captions):
        left, right, bottom, _ = places[f"{k // 3},{k % 3}"]
        assert written[caption][0] == pytest.approx((left + right) / 2)
        assert bottom < written[caption][1] < bottom + 10
    assert places["1,0"][3] > places["0,0"][2] + 10  # a caption's line between the rows


def test_model_choice_marks_the_least_and_shows_intervals():
    held = {k: Estimate(np.arange(10.0) - k) for k in (4, 2, 8)}
    figure = evaluation.model_choice({2: 3.0, 4: 1.0, 8: 2.0}, held)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[2, 3], [4, 1], [8, 2]])
    assert left.texts[0].get_text() == "least at 4"
    np.testing.assert_allclose(right.lines[0].get_ydata(), [2.5, 0.5, -3.5])
    half = held[2].interval[1] - held[2].mean
    np.testing.assert_allclose(np.ptp(right.collections[0].get_segments()[0][:, 1]), 2 * half)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.image_grid(np.zeros((2, 3, 3)), captions=["one"]), "one for each of 2 images, got 1"),
        (lambda: evaluation.model_choice({}, {}), "same numbers"),
    ],
)
def test_bad_figures_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
