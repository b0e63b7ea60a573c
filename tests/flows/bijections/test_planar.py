"""The planar flow: the oracle, derivatives of its inverse, and the edge of invertibility."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 3))


def published(params, x):
    """The formulas of the paper, its constraint shifted so that u = 0 is the identity."""
    u, w, b = (np.asarray(params[name], np.float64) for name in ("shift", "normal", "offset"))
    m = np.log1p((np.e - 1) * np.exp(w @ u)) - 1
    hat = u + (m - w @ u) * w / (w @ w)
    inner = x @ w + b
    psi = (1 - np.tanh(inner) ** 2)[:, None] * w
    return x + np.tanh(inner)[:, None] * hat, np.log(np.abs(1 + psi @ hat))


@pytest.mark.parametrize("along", [-6.0, -1.0, 0.0, 2.0])
def test_forward_is_the_published_map(x64, along):
    params = {"shift": jnp.array([along, 0.5, -1.0]), "normal": jnp.array([1.0, 0.0, 0.2]), "offset": jnp.array(0.3)}
    z, log_det = flows.planar().forward(params, {}, jnp.asarray(X))
    expected = published(params, X)
    np.testing.assert_allclose(z, expected[0], rtol=1e-13)
    np.testing.assert_allclose(log_det, expected[1], rtol=1e-10, atol=1e-13)


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("along", [-200.0, -20.0, 1e4])
def test_every_parameter_is_invertible(along, dtype):
    """Far beyond û·w = −1 the map still increases, and its inverse reproduces z, whose conditioning is 1."""
    with jax.enable_x64(dtype == "float64"):
        params = {"shift": jnp.array([along, 1, 0], dtype), "normal": jnp.array([1, 0, 0], dtype)}
        params |= {"offset": jnp.zeros((), dtype)}
        z = jnp.concatenate([jnp.asarray(X, dtype), jnp.zeros((1, 3), dtype)])
        x, log_det = flows.planar().inverse(params, {}, z)
        again, log_det_forward = flows.planar().forward(params, {}, x)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(again, z, rtol=0, atol=20 * eps * max(1, abs(along)))
        assert np.all(np.isfinite(log_det))
        np.testing.assert_allclose(log_det, -log_det_forward, rtol=20 * eps, atol=20 * eps)


@pytest.mark.thorough
def test_a_normal_of_zero_is_a_constant_shift(x64):
    params = {"shift": jnp.array([1.0, 2.0, 3.0]), "normal": jnp.zeros(3), "offset": jnp.array(0.5)}

    def loss(params):
        z, log_det = flows.planar().forward(params, {}, jnp.asarray(X))
        return jnp.sum(z) + jnp.sum(log_det), (z, log_det)

    grads, (z, log_det) = jax.grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(z, X + np.tanh(0.5) * np.array([1.0, 2.0, 3.0]), rtol=1e-14)
    np.testing.assert_array_equal(log_det, np.zeros(5))
    np.testing.assert_allclose(grads["shift"], np.full(3, 5 * np.tanh(0.5)), rtol=1e-14)
    assert np.all(np.isfinite(grads["normal"]))


def test_given_must_be_real():
    with pytest.raises(TypeError, match="given must be real, got int32"):
        flows.planar().init(jax.random.key(0), jnp.asarray(X, jnp.float32), jnp.arange(5))
