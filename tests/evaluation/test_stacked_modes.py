"""A thousand modes by a classifier of channels, and what a perfect generator has by chance."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vifx import data, evaluation
from vifx.data import images

LEVELS = np.arange(10, dtype=np.uint8) * 20


def classify(grey):
    """The class of an image is its level: class k has pixels of 20 k."""
    return grey[:, 0, 0, 0] // 20


def drawn(labels):
    """Images whose channels have these classes, ``[n, 3]``."""
    return np.broadcast_to(LEVELS[labels][:, None, None], (len(labels), 2, 2, 3))


def test_modes_are_counted_by_the_class_of_each_channel():
    labels = np.array([[1, 2, 3], [1, 2, 3], [9, 0, 0], [0, 0, 9]])
    found = evaluation.stacked_modes(drawn(labels), classify)
    assert found.captured == 3
    assert np.flatnonzero(found.counts).tolist() == [9, 123, 900]
    assert found.counts[123] == 2
    assert found.counts_kl == pytest.approx(np.log(1000) + 0.5 * np.log(0.5) + 0.5 * np.log(0.25))
    floats = evaluation.stacked_modes(drawn(labels) / np.float32(255), classify)
    np.testing.assert_array_equal(floats.counts, found.counts)
    every = np.stack(np.meshgrid(*[np.arange(10)] * 3), axis=-1).reshape(-1, 3)
    whole = evaluation.stacked_modes(drawn(every), classify)
    assert (whole.captured, whole.counts_kl) == (1000, pytest.approx(0, abs=1e-12))


def test_what_a_perfect_generator_has_by_chance():
    generator = np.random.default_rng(0)
    for n in (300, 3000):
        found = [evaluation.stacked_modes(drawn(generator.integers(0, 10, (n, 3))), classify) for _ in range(40)]
        for values, expected in (
            ([each.captured for each in found], evaluation.expected_captured(1000, n)),
            ([each.counts_kl for each in found], evaluation.expected_counts_kl(1000, n)),
        ):
            assert abs(np.mean(values) - expected) < 4.3 * np.std(values) / np.sqrt(40)
    assert evaluation.expected_counts_kl(1000, 100_000) == pytest.approx(999 / 200_000, rel=0.01)
    assert evaluation.expected_captured(1, 5) == 1


@pytest.mark.thorough
def test_a_stacked_set_is_three_images_with_a_label_of_three_digits():
    splits = images.stacked(data.load(data.Config("digits")), seed=3)
    assert splits.train["x"].shape[1:] == splits.info.shape == (8, 8, 3)
    assert splits.info.classes == 1000
    assert splits.train["y"].min() >= 0
    assert splits.train["y"].max() <= 999
    whole = data.load(data.Config("digits"))
    for split, own in ((splits.train, whole.train), (splits.test, whole.test)):
        known = {image.tobytes(): label for image, label in zip(own["x"], own["y"], strict=True)}
        for image, label in zip(split["x"][:50], split["y"][:50], strict=True):
            a, b, c = (known[image[..., channel : channel + 1].tobytes()] for channel in range(3))
            assert 100 * a + 10 * b + c == label
    with pytest.raises(ValueError, match="must be grey images with labels"):
        images.stacked(splits)


def test_the_measure_says_what_chance_leaves():
    def sample(key, params, state, n, temperature):
        del params, state, temperature
        return drawn(np.asarray(jax.random.randint(key, (n, 3), 0, 5)))

    found = evaluation.measure_stacked_modes(sample, lambda: classify, n=2000)(jax.random.key(0), {}, {})
    assert found["modes"] == 125  # the control: half of the classes of each channel are lost
    assert found["counts_kl"] > np.log(8)
    rows = {row.name: row.meaning for row in evaluation.described(found)}
    assert rows["modes"] == "of 1,000; 864.8 for 2,000 draws of a perfect generator"
    with pytest.raises(ValueError, match=r"must have three channels.*got shape \(4, 2, 2, 1\)"):
        evaluation.stacked_modes(np.zeros((4, 2, 2, 1), np.uint8), classify)
    with pytest.raises(ValueError, match="must return classes from 0 to 1, got 0 to 9"):
        evaluation.stacked_modes(drawn(np.array([[0, 0, 9]])), classify, classes=2)
