"""Flows of the torus: continuous across every cut, mass one, the oracle, and a fit of angles that belong together."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from flows.oracle import check, perturbed
from scipy import stats

import vifx
from vifx import data, flows, training

X = np.random.default_rng(0).uniform(-2.5, 2.5, (5, 3))


def torus(size):
    return dist.Uniform(-math.pi, math.pi).expand([size]).to_event(1)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        bijection = flows.circular_spline(3, hidden=(6,), bins=3, activation=jnp.tanh)
        given = jnp.asarray(np.cos(X[:, :2]), dtype)
        check(bijection, jnp.asarray(X, dtype), given, scale=0.1, tolerance=4.0)


@pytest.mark.thorough
def test_it_starts_uniform_and_takes_angles_modulo_a_turn(x64):
    flow, x = flows.Flow(torus(3), flows.circular_spline(2, hidden=(4,), bins=3)), jnp.asarray(X)
    params, state = flow.init(jax.random.key(0), x)
    np.testing.assert_allclose(flow.log_prob(params, state, x), np.full(5, -3 * math.log(2 * math.pi)), rtol=1e-12)
    params = perturbed(jax.random.key(1), params)
    turned = x + 2 * math.pi * jnp.asarray([[1.0, -1.0, 3.0]])
    log_prob = jax.jit(flow.log_prob)
    np.testing.assert_allclose(log_prob(params, state, turned), log_prob(params, state, x), rtol=1e-9)


@pytest.mark.thorough
def test_the_density_is_continuous_and_has_mass_one(x64):
    flow = flows.Flow(torus(2), flows.circular_spline(4, hidden=(6,), bins=4, activation=jnp.tanh))
    side = jnp.linspace(-math.pi, math.pi, 601)[:-1]
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    params, state = jax.jit(flow.init)(jax.random.key(0), grid[:4])
    params = perturbed(jax.random.key(1), params, 0.4)
    log_prob = jax.jit(flow.log_prob)
    density = np.exp(np.asarray(log_prob(params, state, grid)))
    assert density.sum() * (2 * math.pi / 600) ** 2 == pytest.approx(1, abs=3e-4)
    assert density.max() > 2 * density.min()
    rest = np.random.default_rng(0).uniform(-3, 3, 30)
    for axis in (0, 1):
        ends = [
            jnp.asarray(np.stack([np.full(30, end), rest][:: 1 if axis == 0 else -1], axis=1))
            for end in (-math.pi + 1e-9, math.pi - 1e-9)
        ]
        np.testing.assert_allclose(log_prob(params, state, ends[0]), log_prob(params, state, ends[1]), atol=1e-6)


@pytest.mark.thorough
def test_it_fits_angles_that_belong_together():
    """y = x + noise on the torus: the density is von Mises around a line that winds once."""
    draw = np.random.default_rng(0)
    first = draw.uniform(-math.pi, math.pi, 4000)
    second = np.angle(np.exp(1j * (first + draw.vonmises(0, 20, 4000))))
    x = np.stack([first, second], axis=1).astype(np.float32)
    bijection = flows.circular_spline(2, hidden=(32,))
    generative = vifx.Joint(vifx.transformed("x", torus(2), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    step = training.optimize(objective, optax.adam(5e-3))
    fitted = training.fit(jax.random.key(0), step, objective, data.Resident({"x": x}, 500, 0), steps=400)
    progress = fitted.train_state.progress
    flow = flows.Flow(torus(2), bijection).at(progress.params["flow"], progress.state["flow"])
    exact = stats.vonmises.logpdf(second - first, 20) - math.log(2 * math.pi)
    nll, entropy = -float(jnp.mean(jax.jit(flow.log_prob)(jnp.asarray(x)))), -float(np.mean(exact))
    assert entropy - 0.02 < nll < entropy + 0.1
