"""Inverse autoregressive flows: masked autoregressive ones the other way round."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check
from flows.places import place
from flows.quadrature import mass

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        bijection, x, given = flows.iaf(2, hidden=(8,)), jnp.asarray(X, dtype), jnp.asarray(np.cos(X[:, :2]), dtype)
        params, state = place(bijection, x, given, scale=0.3)
        check(bijection, x, given, params=params, state=state)


@pytest.mark.thorough
def test_a_sample_is_one_pass_of_the_sigmoid_form(x64):
    """``x = z σ(s + 2)/σ(2) + t`` with s and t of the base's elements before."""
    bijection, z = flows.iaf(1, hidden=(8,)), jnp.asarray(X)
    params, state = place(bijection, z)
    x, log_det = bijection.inverse(params, state, z)
    same = flows.autoregressive(flows.additive(), hidden=(8,))  # its shift is the network's second output
    shift = {**params, "head": jax.tree.map(lambda leaf: leaf[..., 1:], params["head"])}
    s = {**params, "head": jax.tree.map(lambda leaf: leaf[..., :1], params["head"])}
    t, s = (same.forward(own, state, z)[0] - z for own in (shift, s))
    scale = (1 + np.exp(-2)) / (1 + np.exp(-np.asarray(s) - 2))
    np.testing.assert_allclose(x, z * scale + t, rtol=1e-12)
    np.testing.assert_allclose(log_det, np.log(scale).sum(1), rtol=1e-12)


@pytest.mark.thorough
def test_it_is_the_inverse_of_a_masked_flow(x64):
    settings = {"hidden": (8,), "elementwise": flows.affine(bound=2.0), "activation": jnp.tanh}
    one, other = flows.iaf(3, **settings), flows.maf(3, **settings)
    params, state = place(one, jnp.asarray(X))
    for direction, opposite in (("forward", "inverse"), ("inverse", "forward")):
        found = getattr(one, direction)(params, state, jnp.asarray(X))
        expected = getattr(other, opposite)(params, state, jnp.asarray(X))
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_the_density_integrates_to_one(x64):
    bijection = flows.iaf(2, hidden=(8,), activation=jnp.tanh)
    x, given = jnp.asarray(X[:, :2]), jnp.asarray(np.cos(X[:, :1]))
    params, state = place(bijection, x, given, scale=0.3)
    assert abs(mass(bijection, params, state, given) - 1) < 1e-4
