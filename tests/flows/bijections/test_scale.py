"""The learned scale and shift."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vifx import flows

X = np.random.default_rng(0).standard_normal((4, 3, 2))


def test_it_scales_then_shifts(x64):
    x, bijection = jnp.asarray(X), flows.scale(shift=True)
    params, state = bijection.init(jax.random.key(0), x)
    np.testing.assert_array_equal(bijection.forward(params, state, x)[0], X)
    s, t = np.full((3, 2), 0.5), np.arange(6.0).reshape(3, 2)
    assert jax.tree.map(jnp.shape, params) == {"log_scale": (3, 2), "shift": (3, 2)}
    z, log_det = bijection.forward({"log_scale": jnp.asarray(s), "shift": jnp.asarray(t)}, state, x)
    np.testing.assert_allclose(z, X * np.exp(0.5) + t, rtol=1e-14)
    np.testing.assert_allclose(log_det, np.full(4, 3.0), rtol=1e-14)
    assert set(flows.scale().init(jax.random.key(0), x)[0]) == {"log_scale"}
