"""The planar flow: the oracle, derivatives of its inverse, and the edge of invertibility."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, jacobians
from flows.places import place
from jax.flatten_util import ravel_pytree

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("build", "conditional", "scale"),
    [(flows.planar, False, 0.5), (flows.planar, True, 3.0), (lambda: flows.stack(flows.planar(), 3), True, 0.5)],
    ids=["mild", "wild", "stacked"],
)
def test_both_directions_and_the_jacobian_agree(build, conditional, scale, dtype):
    with jax.enable_x64(dtype == "float64"):
        given = jnp.asarray(np.cos(X[:, :2]), dtype) if conditional else None
        bijection, x = build(), jnp.asarray(X, dtype)
        params, state = place(bijection, x, given, scale=scale)
        check(bijection, x, given, params=params, state=state)


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


def test_it_starts_as_the_identity():
    x = jnp.asarray(X, jnp.float32)
    params, state = flows.planar().init(jax.random.key(0), x)
    z, log_det = flows.planar().forward(params, state, x)
    np.testing.assert_allclose(z, x, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(5), rtol=1e-6, atol=1e-6)


def test_derivatives_of_the_inverse(x64):
    """By parameters, values and conditioning: gradients against differences of values, and second derivatives against
    differences of gradients."""
    bijection, x, given = flows.planar(), jnp.asarray(X), jnp.asarray(np.cos(X[:, :2]))
    params, state = place(bijection, x, given, scale=0.8)
    flat, rebuild = ravel_pytree((params, x, given))

    @jax.jit
    def both(flat):
        def loss(flat):
            params, z, given = rebuild(flat)
            x, log_det = bijection.inverse(params, state, z, given)
            return jnp.sum(jnp.sin(x)) + jnp.sum(log_det**2)

        return jax.value_and_grad(loss)(flat)

    direction = jnp.cos(jnp.arange(float(flat.size)))
    second = jax.jit(lambda flat: jax.jvp(lambda flat: both(flat)[1], (flat,), (direction,))[1])(flat)
    ahead, behind = both(flat + 1e-5 * direction), both(flat - 1e-5 * direction)
    np.testing.assert_allclose((ahead[0] - behind[0]) / 2e-5, both(flat)[1] @ direction, rtol=1e-7)
    np.testing.assert_allclose((ahead[1] - behind[1]) / 2e-5, second, rtol=1e-6, atol=1e-7)
    z, _ = bijection.forward(params, state, x, given)
    backward = jacobians(bijection, params, state, z, given, direction="inverse")
    np.testing.assert_allclose(
        backward @ jacobians(bijection, params, state, x, given), np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-12
    )


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
