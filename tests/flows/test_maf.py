"""Masked autoregressive flows: alternating layers as one scan, the oracle, and densities that integrate to one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, jacobians
from flows.places import place
from flows.quadrature import mass

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        bijection, x, given = flows.maf(3, hidden=(8,)), jnp.asarray(X, dtype), jnp.asarray(np.cos(X[:, :2]), dtype)
        params, state = place(bijection, x, given, scale=0.3)
        check(bijection, x, given, params=params, state=state)


@pytest.mark.parametrize("depth", [1, 5])
def test_layers_alternate(x64, depth):
    """The flow is its layers one after another, their orders reversed in turn."""
    bijection, x = flows.maf(depth, hidden=(12,), activation=jnp.tanh), jnp.asarray(X)
    params, state = place(bijection, x)
    layers = (
        [params]
        if depth == 1
        else [
            jax.tree.map(lambda leaf, pair=pair: leaf[pair], own)
            for pair in range(depth // 2)
            for own in (params[0] if depth % 2 else params)
        ]
        + ([params[1]] if depth % 2 else [])
    )
    assert len(layers) == depth
    z, total = x, 0
    for index, own in enumerate(layers):
        layer = flows.autoregressive(
            flows.affine(), hidden=(12,), activation=jnp.tanh, order=(0, 1, 2) if index % 2 == 0 else (2, 1, 0)
        )
        z, log_det = layer.forward(own, {}, z)
        total = total + log_det
    found = bijection.forward(params, state, x)
    np.testing.assert_allclose(found[0], z, rtol=1e-12)
    np.testing.assert_allclose(found[1], total, rtol=1e-12)
    if depth > 1:
        assert np.all(jacobians(bijection, params, state, x) != 0)


@pytest.mark.parametrize(
    "elementwise", [flows.affine(bound=2.0), flows.rational_quadratic(bins=5)], ids=["affine", "spline"]
)
def test_the_density_integrates_to_one(x64, elementwise):
    bijection = flows.maf(2, hidden=(8,), elementwise=elementwise, activation=jnp.tanh)
    x, given = jnp.asarray(X[:, :2]), jnp.asarray(np.cos(X[:, :1]))
    params, state = place(bijection, x, given, scale=0.2)
    assert abs(mass(bijection, params, state, given, points=241) - 1) < 1e-4


def test_normalization_in_between(x64):
    """At the start, layers are the identity and the normalizations leave unit variance."""
    bijection, x = flows.maf(2, hidden=(8,), between=(flows.actnorm(),)), jnp.asarray(3 + 2 * X)
    z, log_det = bijection.forward(*jax.jit(bijection.init)(jax.random.key(0), x), x)
    np.testing.assert_allclose(z, (3 + 2 * X - (3 + 2 * X).mean(0)) / (2 * X).std(0), rtol=1e-10)
    np.testing.assert_allclose(log_det, np.full(5, -np.log((2 * X).std(0)).sum()), rtol=1e-10)


def test_depth_is_positive():
    with pytest.raises(ValueError, match="depth must be an integer ≥ 1, got 0"):
        flows.maf(0)
