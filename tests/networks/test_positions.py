"""Sines and cosines of positions."""

import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import add_positions, sinusoids


def test_positions_are_the_published_formula():
    found = sinusoids(50, 6)
    for t in range(50):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(
                found[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], rtol=1e-6, atol=1e-7
            )


def test_products_depend_on_the_distance_alone():
    found = sinusoids(100, 16).astype(np.float64)
    products = found @ found.T
    for distance in (0, 1, 7):
        np.testing.assert_allclose(np.diag(products, distance), products[0, distance], rtol=1e-5)
    assert products[0, 0] == pytest.approx(8, rel=1e-6)


def test_positions_do_not_depend_on_the_length():
    np.testing.assert_array_equal(sinusoids(300, 8)[:77], sinusoids(77, 8))


def test_positions_are_put_behind_the_channels():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32))
    found = add_positions(x, 4)
    np.testing.assert_array_equal(found[..., :3], x)
    np.testing.assert_array_equal(found[..., 3:], np.broadcast_to(sinusoids(5, 4), (2, 5, 4)))


@pytest.mark.parametrize("features", [0, 3])
def test_odd_numbers_are_refused(features):
    with pytest.raises(ValueError, match=f"features of positions must be an even number.* got {features}"):
        sinusoids(5, features)
