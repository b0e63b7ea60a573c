"""Residual flows: blocks as one scan, estimates that share the exact flow's parameters, and the density's integral."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.places import place
from flows.quadrature import mass

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 2))


def test_the_density_integrates_to_one(x64):
    bijection = flows.residual(3, hidden=(8,), lipschitz=0.9)
    x, given = jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))
    params, state = place(bijection, x, given)
    assert abs(mass(bijection, params, state, given) - 1) < 1e-4


@pytest.mark.thorough
def test_it_is_its_blocks_one_after_another(x64):
    """And its estimate is the exact flow's log-determinant on average, each block with noise of its own."""
    x, block = jnp.asarray(X), flows.residual_block((8,), lipschitz=0.9)
    exact = flows.residual(2, hidden=(8,), lipschitz=0.9)
    params, state = place(exact, x)
    z, log_det = exact.forward(params, state, x)
    middle, first = block.forward(jax.tree.map(lambda leaf: leaf[0], params), {}, x)
    end, second = block.forward(jax.tree.map(lambda leaf: leaf[1], params), {}, middle)
    np.testing.assert_allclose(z, end, rtol=1e-12)
    np.testing.assert_allclose(log_det, first + second, rtol=1e-12)
    estimate = flows.residual(2, hidden=(8,), lipschitz=0.9, log_det="roulette", terms=2)
    keys = jax.random.split(jax.random.key(3), 5_000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: estimate.forward(params, state, x, key=key)[1]))(keys))
    error = draws.std(0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - log_det) < 4.26 * error)
    assert np.all(error < 0.02 * np.abs(log_det).max())


def test_normalization_before_each_block(x64):
    bijection, x = flows.residual(1, hidden=(8,), between=(flows.actnorm(),)), jnp.asarray(3 + 2 * X)
    z, log_det = bijection.forward(*jax.jit(bijection.init)(jax.random.key(0), x), x)
    np.testing.assert_allclose(z, (2 * X - (2 * X).mean(0)) / (2 * X).std(0), rtol=1e-10)
    np.testing.assert_allclose(log_det, np.full(5, -np.log((2 * X).std(0)).sum()), rtol=1e-10)
