"""Latent ODEs against matrix exponentials, and chains around the steps of an ODE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from vifx import distributions as d
from vifx import dynamics, nets, networks

MATRIX = np.array([[-0.3, 1.1], [-0.9, 0.1]])
LOADINGS = np.array([[1.0, 0.5], [-0.2, 0.8], [0.4, 0.0]])
Z = np.random.default_rng(0).normal(size=(3, 2))
TIMES = np.array([[0.1, 0.5, 1.3], [0.3, 0.4, 0.9], [0.7, 1.0, 2.0]])
X = np.random.default_rng(1).normal(size=(3, 3, 3))
LINEAR = nets.from_functions(lambda key, z: jnp.asarray(MATRIX), lambda matrix, z: z @ matrix.T)
READ = nets.from_functions(lambda key, z: {}, lambda params, z: z @ jnp.asarray(LOADINGS).T)


@pytest.mark.first(1)
@pytest.mark.parametrize("lengths", [np.array([3, 1, 2]), None])
def test_the_density_is_that_of_the_matrix_exponential_with_its_gradient(x64, lengths):
    net = dynamics.latent_ode(LINEAR, networks.around(READ, 0.3), stationary=True, substeps=20)
    given = (jnp.asarray(Z), jnp.asarray(TIMES), *(() if lengths is None else (jnp.asarray(lengths),)))
    params, state = net.init(jax.random.key(0), *given)

    def found(matrix, z):
        law, _ = net.apply({**params, "field": matrix}, state, z, *given[1:])
        return jnp.sum(law.log_prob(jnp.asarray(X)))

    def exactly(matrix, z):
        paths = jax.vmap(lambda z, times: jax.vmap(lambda t: jax.scipy.linalg.expm(matrix * t) @ z)(times))
        apart = (jnp.asarray(X) - paths(z, jnp.asarray(TIMES)) @ jnp.asarray(LOADINGS).T) / 0.3
        each = -0.5 * jnp.sum(apart**2, axis=-1) - 3 * np.log(0.3 * np.sqrt(2 * np.pi))
        ends = np.full(3, 3) if lengths is None else lengths
        return jnp.sum(jnp.where(np.arange(3) < ends[:, None], each, 0))

    both = jax.jit(lambda *at: [jax.value_and_grad(each, argnums=(0, 1))(*at) for each in (found, exactly)])
    one, other = both(jnp.asarray(MATRIX), jnp.asarray(Z))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_the_derivative_may_read_the_time_and_start_elsewhere(x64):
    """``dz/dt = t`` from the time 1 on: ``z + (t² − 1)/2``."""
    net = dynamics.latent_ode(lambda z, t: t + 0 * z, networks.around(READ, 1.0), origin=1.0)
    times = jnp.asarray(TIMES) + 1
    law, _ = net.apply(*net.init(jax.random.key(0), jnp.asarray(Z), times), jnp.asarray(Z), times)
    expected = (Z[:, None] + ((TIMES + 1) ** 2 - 1)[..., None] / 2) @ LOADINGS.T
    np.testing.assert_allclose(law.mean, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="increase"):
        net.apply(*net.init(jax.random.key(0), jnp.asarray(Z), times), jnp.asarray(Z), times - 1)


def test_a_chain_around_the_steps_of_an_ode_has_the_density_of_its_flow(x64):
    """Noise around what the flow makes of the value before, over irregular gaps."""
    field = nets.from_functions(lambda key, x, t: jnp.asarray(MATRIX), lambda matrix, x, t: x @ matrix.T)
    step = dynamics.ode_step(field, substeps=20, length=None)
    net = dynamics.chain(d.standard_normal(2), networks.around(step, 0.2), 3, parents=("times",))
    params, state = net.init(jax.random.key(0), jnp.asarray(TIMES))
    found = jax.jit(lambda x: net.apply(params, state, jnp.asarray(TIMES))[0].step_log_probs(x))(
        jnp.asarray(X[..., :2])
    )
    for row in range(3):
        for t in (1, 2):
            flow = scipy.linalg.expm(MATRIX * (TIMES[row, t] - TIMES[row, t - 1]))
            expected = scipy.stats.norm.logpdf(X[row, t, :2], flow @ X[row, t - 1, :2], 0.2).sum()
            np.testing.assert_allclose(found[row, t], expected, rtol=1e-6)


@pytest.mark.thorough
def test_fixed_steps_of_an_ode_are_those_of_the_chain(x64):
    """One unit of time a step, the default of both: dx/dt = t leads from x at time t to x + t + ½."""
    step = dynamics.ode_step(lambda x, t: t + 0 * x, method="midpoint")
    net = dynamics.chain(d.standard_normal(2), networks.around(step, 0.2), 3)
    params, state = net.init(jax.random.key(0))
    x = X[..., :2]
    found = net.apply(params, state)[0].step_log_probs(jnp.asarray(x))
    for t in (1, 2):
        expected = scipy.stats.norm.logpdf(x[:, t], x[:, t - 1] + t - 0.5, 0.2).sum(axis=1)
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-12)
