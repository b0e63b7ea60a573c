"""Random Fourier features against their formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import FourierFeatures


def test_features_are_sines_and_cosines_of_one_random_matrix():
    layer = FourierFeatures(features=5, frequency=0.25)
    x = jax.random.normal(jax.random.key(0), (7, 3))
    variables = layer.init(jax.random.key(1), x)
    assert set(variables) == {"frequencies"}
    angles = 0.5 * np.pi * np.asarray(x) @ np.asarray(variables["frequencies"]["matrix"])
    expected = np.concatenate([x, np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=2e-6, atol=2e-6)
    other = layer.init(jax.random.key(2), x)["frequencies"]["matrix"]
    assert float(jnp.max(jnp.abs(other - variables["frequencies"]["matrix"]))) > 0.1


def test_frequencies_have_the_declared_size():
    matrix = FourierFeatures(features=4000).init(jax.random.key(1), jnp.zeros((1, 2)))["frequencies"]["matrix"]
    assert float(jnp.std(matrix)) == pytest.approx(1.0, abs=0.03)
    with pytest.raises(ValueError, match=r"frequency must be a finite number > 0, got 0\.0"):
        FourierFeatures(frequency=0.0)
