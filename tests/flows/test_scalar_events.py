"""Scalar events, ``[examples]``: whatever acts on elements takes them, and what acts along an axis refuses them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flows.oracle import perturbed
from scipy import stats

import vifx
from vifx import data, flows, training

X = np.random.default_rng(0).uniform(0.2, 0.8, 6)
TAKEN = {
    "identity": flows.identity,
    "scale": lambda: flows.scale(shift=True),
    "actnorm": flows.actnorm,
    "logit": flows.logit,
    "flatten": flows.flatten,
    "planar": flows.planar,
    "radial": flows.radial,
    "conditional_affine": lambda: flows.conditional_affine(flows.dense((4,))),
    "residual_block": lambda: flows.residual_block((4,)),
    "cnf": lambda: flows.cnf(hidden=(4,)),
    "autoregressive": lambda: flows.autoregressive(flows.rational_quadratic(), hidden=(4,)),
    "block_autoregressive": lambda: flows.bnaf(1, hidden=(4,)),
    "composed": lambda: flows.chain(flows.stack(flows.invert(flows.planar()), 2), flows.softplus()),
}
REFUSED = {
    "reverse": flows.reverse,
    "shuffle": flows.shuffle,
    "permutation": lambda: flows.permutation([1, 0]),
    "linear": flows.linear,
    "coupling": lambda: flows.realnvp(1),
    "squeeze": flows.squeeze,
    "concatenate": lambda: flows.concatenate(flows.exp()),
    "indexed": lambda: flows.indexed(flows.exp(), 0),
}
APPROXIMATE = {"cnf": 1e10, "residual_block": 1e3}


@pytest.mark.thorough
@pytest.mark.parametrize("name", TAKEN)
def test_a_scalar_is_a_vector_of_one_element(x64, name):
    """The same parameters on [n] and on [n, 1] give the same numbers, in both directions; `check` passes."""
    bijection, x = TAKEN[name](), jnp.asarray(X)
    given = jnp.asarray(np.cos(X)[:, None]) if name == "conditional_affine" else None
    params, state = jax.jit(bijection.init)(jax.random.key(0), x, given)
    params = perturbed(jax.random.key(1), params)
    flows.check(bijection, x, given, params=params, state=state, tolerance=APPROXIMATE.get(name, 1.0))
    z, log_det = bijection.forward(params, state, x, given)
    _, other_state = jax.jit(bijection.init)(jax.random.key(0), x[:, None], given)
    like = jax.eval_shape(bijection.init, jax.random.key(0), x[:, None], given)[0]
    other = jax.tree.map(lambda leaf, shape: leaf.reshape(shape.shape), params, like)
    found = bijection.forward(other, other_state, x[:, None], given)
    np.testing.assert_allclose(found[0].reshape(-1), z.reshape(-1), rtol=1e-12)
    np.testing.assert_allclose(found[1], log_det, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", REFUSED)
def test_what_acts_along_an_axis_would_act_along_the_examples(name):
    with pytest.raises(ValueError, match=r"init needs .* with at least one event axis, got shape \[6\]"):
        REFUSED[name]().init(jax.random.key(0), jnp.asarray(X, jnp.float32))


@pytest.mark.thorough
def test_the_log_of_a_lognormal_number_is_normal(x64):
    """As a factor of a joint, at the moments of its data: the likelihood of the lognormal distribution."""
    bijection, x = flows.chain(flows.invert(flows.exp()), flows.actnorm()), np.exp(3 + 0.5 * X)
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    params, state = objective.init(jax.random.key(0), {"x": jnp.asarray(x)})
    value, _ = objective.players["model"].loss(jax.random.key(1), params, state, {"x": jnp.asarray(x)})
    moments = np.std(np.log(x)), np.exp(np.mean(np.log(x)))
    expected = -stats.lognorm.logpdf(x, moments[0], scale=moments[1]).mean()
    assert float(value) == pytest.approx(expected, rel=1e-10)


@pytest.mark.thorough
def test_a_flow_of_a_scalar_trains():
    """A spline of one number finds the two halves of a mixture, up to a divergence of 0.03 nats."""
    draws = np.random.default_rng(1).standard_normal(4000)
    x = np.where(np.arange(4000) % 2, 2.0, -1.0) + 0.5 * draws
    bijection = flows.chain(flows.actnorm(), flows.autoregressive(flows.rational_quadratic(bins=8), hidden=(4,)))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    source = data.Resident({"x": x.astype(np.float32)}, 500, 0)
    step = training.optimize(objective, optax.adam(2e-2))
    progress = training.fit(jax.random.key(0), step, objective, source, steps=600).train_state.progress
    fitted = flows.Flow(vifx.standard_normal(), bijection).at(progress.params["flow"], progress.state["flow"])
    grid = np.linspace(-4, 5, 401)
    exact = np.logaddexp(stats.norm.logpdf(grid, -1, 0.5), stats.norm.logpdf(grid, 2, 0.5)) - np.log(2)
    found = np.asarray(fitted.log_prob(jnp.asarray(grid, jnp.float32)))
    assert 0 < np.sum(np.exp(exact) * (exact - found)) * (grid[1] - grid[0]) < 0.03
    samples = np.asarray(fitted.sample(jax.random.key(2), 4000))
    assert abs(np.mean(samples > 0.5) - 0.5) < 0.05
