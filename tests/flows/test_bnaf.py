"""Block neural autoregressive flows: layers in turn, densities that integrate to one, and a fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flows.oracle import check
from flows.places import place
from flows.quadrature import mass

import vifx
from vifx import data, flows, training

X = np.random.default_rng(0).standard_normal((5, 3))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        bijection, x, given = flows.bnaf(3, hidden=(4,)), jnp.asarray(X, dtype), jnp.asarray(np.cos(X[:, :2]), dtype)
        params, state = place(bijection, x, given)
        check(bijection, x, given, params=params, state=state)


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1, 3])
def test_layers_alternate(x64, depth):
    """The flow is its layers one after another, their orders reversed in turn."""
    bijection, x = flows.bnaf(depth, hidden=(4,)), jnp.asarray(X)
    params, state = place(bijection, x)
    layers = [params] if depth == 1 else [*(jax.tree.map(lambda leaf: leaf[0], own) for own in params[0]), params[1]]
    z, total = x, 0
    for index, own in enumerate(layers):
        order = (0, 1, 2) if index % 2 == 0 else (2, 1, 0)
        z, log_det = flows.block_autoregressive(hidden=(4,), order=order).forward(own, {}, z)
        total = total + log_det
    found = bijection.forward(params, state, x)
    np.testing.assert_allclose(found[0], z, rtol=1e-12)
    np.testing.assert_allclose(found[1], total, rtol=1e-12)


@pytest.mark.thorough
def test_the_density_integrates_to_one(x64):
    """With the gate it is onto the plane; the tails are those of the base, stretched."""
    bijection = flows.bnaf(2, hidden=(6,))
    x, given = jnp.asarray(X[:, :2]), jnp.asarray(np.cos(X[:, :1]))
    params, state = place(bijection, x, given)
    assert abs(mass(bijection, params, state, given, extent=24.0, points=481) - 1) < 1e-4


@pytest.mark.thorough
def test_it_fits_two_moons_better_than_a_gaussian_and_samples_what_it_fits():
    moons = data.load(data.Config("two_moons"))
    bijection = flows.chain(flows.actnorm(), flows.bnaf(2, hidden=(8,)))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    step = training.optimize(objective, optax.adam(1e-2))
    source = data.Resident({"x": moons.train["x"]}, 256, 0)
    progress = training.fit(jax.random.key(0), step, objective, source, steps=800).train_state.progress
    flow = flows.Flow(vifx.standard_normal(2), bijection).at(progress.params["flow"], progress.state["flow"])
    x = jnp.asarray(moons.test["x"])
    nll = -float(jnp.mean(jax.jit(flow.log_prob)(x)))
    assert 1.0 < nll < 1.25  # the density that the points were drawn from has 1.010; a Gaussian 1.7
    drawn = np.asarray(flow.sample(jax.random.key(1), 4000))
    np.testing.assert_allclose(drawn.mean(0), moons.train["x"].mean(0), atol=0.1)
    np.testing.assert_allclose(drawn.std(0), moons.train["x"].std(0), rtol=0.1)
