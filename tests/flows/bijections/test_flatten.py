"""Flattening, and the way back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check

from vifx import flows

X = np.random.default_rng(0).standard_normal((4, 2, 3, 2))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", [X, X[..., 0, 0]], ids=["images", "vectors"])
def test_both_directions_and_the_jacobian_agree(data, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(data, dtype)
        params, state = check(flows.flatten(), x)
        z, log_det = flows.flatten().forward(params, state, x)
        np.testing.assert_array_equal(z, x.reshape(4, -1))
        np.testing.assert_array_equal(log_det, np.zeros(4))
        check(flows.chain(flows.flatten(), flows.actnorm()), x)
        assert sum(leaf.size for leaf in jax.tree.leaves((params, state))) == 0


def test_sizes_that_it_was_not_initialized_with():
    bijection, x = flows.flatten(), jnp.asarray(X, jnp.float32)
    params, state = bijection.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"initialized with events \[2, 3, 2\], got \[3, 2, 2\]"):
        bijection.forward(params, state, x.transpose(0, 2, 1, 3))
    with pytest.raises(ValueError, match=r"flatten: inverse needs 12 elements an example.*got \[4, 11\]"):
        bijection.inverse(params, state, jnp.ones((4, 11)))
