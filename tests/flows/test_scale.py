"""The learned scale and shift."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check

from vifx import flows

X = np.random.default_rng(0).standard_normal((4, 3, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [False, True])
def test_both_directions_and_the_jacobian_agree(shift, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(flows.scale(shift=shift), jnp.asarray(X, dtype))


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
