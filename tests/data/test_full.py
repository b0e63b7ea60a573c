"""The whole data set as one minibatch, principal components, and the casino's rolls."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from vifx import data
from vifx.training.minibatch_sources import ResidentSource

X = np.arange(12.0, dtype=np.float32).reshape(6, 2)


def test_every_minibatch_is_the_whole_data_set_in_its_order():
    source = data.Full({"x": X, "y": np.arange(6)})
    assert isinstance(source, ResidentSource)
    assert source.size == 6
    take = jax.jit(lambda arrays, i: source.take(jax.random.key(0), arrays, source.window(40, 3), i))
    for i in range(3):
        batch = take(source.arrays, i)
        np.testing.assert_array_equal(batch["x"], X)
        np.testing.assert_array_equal(batch["y"], np.arange(6))


def test_the_transform_has_the_key():
    source = data.Full({"x": X}, lambda key, batch: {"x": batch["x"] + jax.random.uniform(key)})
    batch = source.take(jax.random.key(3), source.arrays, source.window(0, 1), 0)
    np.testing.assert_allclose(batch["x"], X + float(jax.random.uniform(jax.random.key(3))), rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"x": X, "y": np.zeros(5)}, ValueError, "one row per example"),
        ({"x": np.array([0.0, np.nan])}, ValueError, "must be finite"),
        ({"x": np.zeros((0, 2))}, ValueError, "at least one example"),
        ({"x": np.array(["a"])}, TypeError, "real numbers"),
    ],
)
def test_bad_data_is_refused(arrays, error, message):
    with pytest.raises(error, match=message):
        data.Full(arrays)


def test_a_window_is_ahead_and_not_empty():
    for first, batches in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="must be an integer ≥"):
            data.Full({"x": X}).window(first, batches)


def images(count=5000):
    """More images than one chunk, whose pixels depend on each other."""
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((count, 3)) @ generator.standard_normal((3, 12)) * 30
    return (
        np.clip(128 + factors + 4 * generator.standard_normal((count, 12)), 0, 255)
        .astype(np.uint8)
        .reshape(-1, 3, 4, 1)
    )


def test_principal_components_are_scikit_learns():
    x = images()
    found = data.pca(x, 5)
    oracle = PCA(5, svd_solver="full").fit(x.reshape(len(x), -1) / 255)
    np.testing.assert_allclose(found.mean, oracle.mean_, rtol=1e-5)
    np.testing.assert_allclose(found.variance, oracle.explained_variance_ * (len(x) - 1) / len(x), rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found.axes * oracle.components_, axis=1))[:3], 1, rtol=1e-5)
    assert (found.axes.sum(axis=1) > 0).all()
    assert found.share == pytest.approx(oracle.explained_variance_ratio_.sum(), rel=1e-5)
    projected = found.project(x)
    np.testing.assert_allclose(
        projected, (x.reshape(len(x), -1) / 255 - oracle.mean_) @ found.axes.T, rtol=1e-5, atol=1e-5
    )


def test_with_all_components_images_come_back():
    x = images(200)
    found = data.pca(x, 12)
    np.testing.assert_allclose(found.restore(found.project(x)), x / 255, rtol=1e-5, atol=1e-5)
    assert found.share == pytest.approx(1.0)


@pytest.mark.parametrize("features", [0, 13, True, 2.0])
def test_a_wrong_number_of_components_is_refused(features):
    with pytest.raises((TypeError, ValueError), match="features must be an integer from 1 to 12"):
        data.pca(images(100), features)


def test_scaled_images_are_refused():
    with pytest.raises(TypeError, match="uint8 pixels"):
        data.pca(images(10) / 255, 2)


def test_rolls_and_dice_have_the_stated_probabilities():
    """Counts of faces for each die and of changes of the die, by χ² at 1e-5 each."""
    split = data.load(data.Config("casino", validation=0)).train
    x, y = split["x"], split["y"]
    assert x.shape == y.shape == (100, 300)
    assert (y[:, 0] == 0).all()
    for state, faces in enumerate([[1 / 6] * 6, [0.1, 0.1, 0.1, 0.1, 0.1, 0.5]]):
        counts = np.bincount(x[y == state], minlength=6)
        assert stats.chisquare(counts, np.array(faces) * counts.sum()).pvalue > 1e-5
        after = y[:, 1:][y[:, :-1] == state]
        stays = np.array([(after == 0).sum(), (after == 1).sum()])
        chance = [0.95, 0.05] if state == 0 else [0.1, 0.9]
        assert stats.chisquare(stays, np.array(chance) * len(after)).pvalue > 1e-5
    np.testing.assert_allclose(data.CASINO.faces.sum(axis=1), 1)


def test_the_casino_is_a_generated_data_set(monkeypatch, tmp_path):
    monkeypatch.setenv("VIFX_DATA", str(tmp_path / "missing"))
    one = data.load(data.Config("casino", validation=10))
    again = data.load(data.Config("casino", validation=10))
    assert [len(split["x"]) for split in (one.train, one.validation, one.test)] == [90, 10, 100]
    assert one.info.classes is None
    np.testing.assert_array_equal(one.test["x"], again.test["x"])
    assert (one.test["x"] != one.train["x"][0]).any()
    assert jnp.asarray(one.train["x"]).max() == 5
