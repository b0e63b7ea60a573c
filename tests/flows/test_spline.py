"""Spline flows: the identity at zero, normalized, the unrolled chain, and as sharp as a density may be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.assemblies import block, check_the_integral, check_the_unrolled_chain
from flows.oracle import check

from vifx import flows

X = np.random.default_rng(0).standard_normal((4, 5))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        check(flows.spline(2, hidden=(4,), bins=3), jnp.asarray(X, dtype))


@pytest.mark.thorough
def test_it_starts_as_its_shuffles(x64):
    """Splines whose parameters are all zero are the identity, inside the interval and out of it."""
    x = jnp.asarray(3 * X)
    bijection = flows.spline(2, hidden=(6,), bound=2.0)
    params, state = bijection.init(jax.random.key(0), x)
    z, log_det = bijection.forward(params, state, x)
    np.testing.assert_allclose(z, np.asarray(x)[:, np.asarray(state[2]["order"][0])], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(log_det, np.zeros(4), atol=1e-13)


@pytest.mark.thorough
def test_the_density_is_normalized(x64):
    check_the_integral(flows.spline(2, hidden=(5,), activation=jnp.tanh, bins=4), points=1201, scale=0.2)


@pytest.mark.thorough
def test_it_is_the_chain_of_its_couplings(x64):
    elementwise = flows.rational_quadratic(bins=3, bound=1.5)
    one, other = (flows.coupling(flows.dense((6,)), elementwise, mask=flows.halves(swapped=s)) for s in (False, True))
    stacked = flows.spline(4, hidden=(6,), bins=3, bound=1.5)

    def arrange(tree):
        return tuple(part for index in range(2) for part in block(tree, index))

    chained = flows.chain(one, other, flows.shuffle(), one, other, flows.shuffle())
    check_the_unrolled_chain(stacked, chained, arrange, jnp.asarray(X))
