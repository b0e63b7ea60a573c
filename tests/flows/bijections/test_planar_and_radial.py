"""What the planar and the radial flow have in common: the oracle, the start, and the derivatives of the inverse."""

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
each = pytest.mark.parametrize("flow", [flows.planar, flows.radial])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("conditional", "scale", "depth"),
    [(False, 0.5, 1), (True, 3.0, 1), (True, 0.5, 3)],
    ids=["mild", "wild", "stacked"],
)
@each
def test_both_directions_and_the_jacobian_agree(flow, conditional, scale, depth, dtype):
    with jax.enable_x64(dtype == "float64"):
        given = jnp.asarray(np.cos(X[:, :2]), dtype) if conditional else None
        bijection, x = flow() if depth == 1 else flows.stack(flow(), depth), jnp.asarray(X, dtype)
        params, state = place(bijection, x, given, scale=scale)
        check(bijection, x, given, params=params, state=state)


@each
def test_it_starts_as_the_identity(flow):
    x = jnp.asarray(X, jnp.float32)
    params, state = flow().init(jax.random.key(0), x)
    z, log_det = flow().forward(params, state, x)
    np.testing.assert_allclose(z, x, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(5), rtol=1e-6, atol=1e-6)


@pytest.mark.thorough
@each
def test_derivatives_of_the_inverse(x64, flow):
    """By parameters, values and conditioning: gradients against differences of values, and second derivatives against
    differences of gradients."""
    bijection, x, given = flow(), jnp.asarray(X), jnp.asarray(np.cos(X[:, :2]))
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
