"""The continuous flow with a gated network: its start, its layers, its density."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.places import place
from flows.quadrature import mass

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 2))


@pytest.mark.thorough
def test_it_starts_as_the_identity():
    x, flow = jnp.asarray(X, jnp.float32), flows.cnf(hidden=(8,))
    z, log_det = flow.forward(*flow.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(5))


def test_one_step_of_its_network(x64):
    """One Runge–Kutta step of the published layers, in plain formulas."""
    x, given, flow = jnp.asarray(X), jnp.asarray(np.cos(X)), flows.cnf(hidden=(4,), steps=1, time=0.5)
    params, state = place(flow, x, given)

    def velocity(x, t):
        context, h = np.concatenate([np.full((5, 1), t), np.cos(X)], 1), x
        for index, layer in enumerate(jax.tree.map(np.asarray, (params["Gated_0"], params["Gated_1"]))):
            gate = 1 / (1 + np.exp(-context @ layer["gate"] - layer["gate_bias"]))
            h = (h @ layer["kernel"] + layer["bias"]) * gate + context @ layer["shift"]
            h = np.tanh(h) if index == 0 else h
        return h

    a = velocity(X, 0.0)
    b = velocity(X + 0.25 * a, 0.25)
    c = velocity(X + 0.25 * b, 0.25)
    d = velocity(X + 0.5 * c, 0.5)
    z, _ = flow.forward(params, state, x, given)
    np.testing.assert_allclose(z, X + 0.5 / 6 * (a + 2 * b + 2 * c + d), rtol=1e-12)


@pytest.mark.thorough
def test_the_density_integrates_to_one(x64):
    """Of a stack of two, conditional."""
    x, given, flow = jnp.asarray(X), jnp.asarray(np.cos(X[:, :1])), flows.stack(flows.cnf(hidden=(8,), steps=8), 2)
    params, state = place(flow, x, given, scale=0.5)
    assert abs(mass(flow, params, state, given) - 1) < 1e-4


def test_bad_widths():
    with pytest.raises(ValueError, match=r"hidden must have at least one integer ≥ 1, got none"):
        flows.cnf(hidden=())
