"""Cholesky factors whose eigenvalues have a floor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.em.families.covariances import floored_cholesky
from vifx.loops import primitives

ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def covariance(values):
    return ROTATION @ np.diag(values) @ ROTATION.T


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [1.0, 1e-3, 3.0], [1.0, 0.0, -1e-9], [0.0, 0.0, 0.0]])
def test_eigenvalues_below_the_floor_are_raised_to_it(x64, values):
    found = np.asarray(jax.jit(lambda c: floored_cholesky(c, 0.01, jnp.eye(3)))(jnp.asarray(covariance(values))))
    np.testing.assert_array_equal(np.triu(found, 1), 0)
    np.testing.assert_allclose(found @ found.T, covariance(np.maximum(values, 0.01)), rtol=1e-9, atol=1e-10)


def test_of_several_each_by_itself(x64):
    """One that is well is what it would be alone, bit for bit."""
    well, ill = covariance([1.0, 2.0, 3.0]), covariance([1.0, 1e-9, 3.0])
    found = floored_cholesky(jnp.asarray(np.stack([well, ill])), 1e-4, jnp.eye(3))
    np.testing.assert_array_equal(found[0], jnp.linalg.cholesky(jnp.asarray(well)))
    np.testing.assert_allclose(found[1] @ found[1].T, covariance([1.0, 1e-4, 3.0]), rtol=1e-9, atol=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_floor_it_is_positive_definite_within_rounding(dtype):
    with jax.enable_x64(dtype == "float64"):
        vector = np.array([1.0, 2.0, 3.0])
        found = np.asarray(floored_cholesky(jnp.asarray(np.outer(vector, vector), dtype), 0.0, jnp.eye(3, dtype=dtype)))
        assert np.all(np.isfinite(found))
        assert np.all(np.diag(found) > 0)
        np.testing.assert_allclose(
            found @ found.T, np.outer(vector, vector), rtol=1e-4 if dtype == "float32" else 1e-12
        )


def test_matrices_are_factored_by_one_call():
    """Two at the same time wait for each other for ever where XLA has two threads: each wants the other's."""
    jaxpr = jax.make_jaxpr(lambda c: floored_cholesky(c, 0.01, jnp.eye(3)))(jnp.broadcast_to(jnp.eye(3), (160, 3, 3)))
    assert list(primitives(jaxpr.jaxpr)).count("cholesky") == 1
