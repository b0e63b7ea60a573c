"""Images as models take them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data
from vifx.data import images


def test_binary_images_are_drawn_once_with_their_grey():
    grey = np.random.default_rng(0).integers(0, 256, (4000, 2, 2, 1), dtype=np.uint8)
    grey[:, 0, 0] = [0]
    grey[:, 0, 1] = [255]
    splits = data.from_arrays(train={"x": grey}, test={"x": grey[:100] // 2}, validation=100)
    found, again = images.binarized(splits), images.binarized(splits)
    x = found.train["x"]
    np.testing.assert_array_equal(x, again.train["x"])
    assert found.info.shape == (4,)
    np.testing.assert_array_equal(x[:, :2], np.broadcast_to([0.0, 1.0], (len(x), 2)))
    bins = splits.train["x"][:, 1, 0, 0] // 64
    for b in range(4):
        expected = splits.train["x"][bins == b, 1, 0, 0].mean() / 255
        assert x[bins == b, 2].mean() == pytest.approx(expected, abs=0.06)


def test_pixels_are_scaled_and_come_back():
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1) * 10
    every = images.embedding(x, "pixels")
    np.testing.assert_allclose(every.project(x), x.reshape(2, 12) / 255, rtol=1e-6)
    np.testing.assert_allclose(every.restore(every.project(x)), x / 255, rtol=1e-6)


def test_dequantized_pixels_are_those_of_the_transform_and_come_back_as_their_shades():
    shade = np.random.default_rng(0).integers(0, 17, (500, 3, 4, 1))
    x = np.rint(255 * shade / 16).astype(np.uint8)
    real = images.embedding(x, "dequantized")
    found = real.project(x)
    noise = 17 * found.astype(np.float64) - shade.reshape(500, 12)
    assert ((noise > 0) & (noise < 1)).all()
    assert abs(noise.mean() - 0.5) < 4.26 * np.sqrt(1 / 12 / noise.size)
    assert abs(noise.var() - 1 / 12) < 4.26 * np.sqrt(1 / 180 / noise.size)
    np.testing.assert_allclose(real.restore(found), shade / 16, rtol=1e-6)
    np.testing.assert_array_equal(found, real.project(x))
    assert real.restore(np.full((1, 12), 1.3)).max() == 1


@pytest.mark.parametrize("features", ["pixels", "dequantized", 3])
def test_an_empty_split_is_mapped_to_the_shape_of_the_others(features):
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    splits = data.from_arrays(train={"x": x[:12]}, test={"x": x[12:]}, validation=0)
    found = images.mapped(splits, images.embedding(splits.train["x"], features).project)
    assert found.validation["x"].shape == (0, *found.train["x"].shape[1:])
    assert found.validation["x"].dtype == found.train["x"].dtype
    whole = images.mapped(
        data.from_arrays(train={"x": x[:12]}, test={"x": x[12:]}, validation={"x": x[:3] // 2}),
        images.embedding(splits.train["x"], features).project,
    )
    np.testing.assert_array_equal(whole.train["x"], found.train["x"])


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_scaled_images_are_those_that_a_source_normalizes(low):
    split = {"x": np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1), "y": np.arange(4)}
    found = images.scaled(split, low=low)
    expected = data.normalize(low=low)(jax.random.key(0), {"x": jnp.asarray(split["x"])})["x"]
    np.testing.assert_array_equal(found["x"], expected)
    assert (found["x"].min(), found["x"].max()) == (low, 1.0)
    assert found["y"] is split["y"]
