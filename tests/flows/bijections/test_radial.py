"""The radial flow: the oracle, the published formulas, and its inverse at and near the center."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.parametrize("strength", [-4.0, -0.5, 0.0, 3.0])
def test_forward_is_the_published_map(x64, strength):
    params = {"center": jnp.array([0.5, -1.0, 0.2]), "log_radius": jnp.array(-0.4), "strength": jnp.array(strength)}
    z, log_det = flows.radial().forward(params, {}, jnp.asarray(X))
    alpha = np.exp(-0.4)
    beta = alpha * (np.log1p((np.e - 1) * np.exp(strength)) - 1)
    away = X - np.array([0.5, -1.0, 0.2])
    r = np.linalg.norm(away, axis=1)
    h, slope = 1 / (alpha + r), -1 / (alpha + r) ** 2
    np.testing.assert_allclose(z, X + (beta * h)[:, None] * away, rtol=1e-13)
    expected = 2 * np.log(1 + beta * h) + np.log(1 + beta * h + beta * slope * r)
    np.testing.assert_allclose(log_det, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("strength", [-300.0, -5.0, 50.0])
def test_center_and_extremes(strength, dtype):
    """The center is a fixed point with slope 1 + β/α; values and derivatives are finite there and far from it."""
    with jax.enable_x64(dtype == "float64"):
        eps = np.finfo(dtype).eps
        params = {name: jnp.asarray(0.5, dtype) for name in ("log_radius", "strength")}
        params |= {"center": jnp.asarray(X[0], dtype), "strength": jnp.asarray(strength, dtype)}
        x = jnp.asarray(np.stack([X[0], X[0] + 1e-3, X[1], 1e4 * X[2]]), dtype)
        z, log_det = flows.radial().forward(params, {}, x)
        np.testing.assert_array_equal(z[0], x[0])
        slope = max(np.logaddexp(0, strength + np.log(np.e - 1)), eps)
        np.testing.assert_allclose(log_det[0], 3 * np.log(slope), rtol=20 * eps)
        back, log_det_back = flows.radial().inverse(params, {}, z)
        again, _ = flows.radial().forward(params, {}, back)
        np.testing.assert_allclose(again, z, rtol=20 * eps, atol=20 * eps)
        if strength > 0:
            np.testing.assert_allclose(back, x, rtol=20 * eps, atol=20 * eps)
            np.testing.assert_allclose(log_det_back, -log_det, rtol=20 * eps, atol=20 * eps)
        for direction in ("forward", "inverse"):
            run = jax.jit(
                jax.grad(
                    lambda p, v, run=direction: sum(jnp.sum(part) for part in getattr(flows.radial(), run)(p, {}, v)),
                    argnums=(0, 1),
                )
            )
            grads = run(params, z)
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
