"""Switching regressions: weighted least squares, densities by enumeration of all paths, samples, EM that climbs."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vifx
from vifx import em, training

DRAW = np.random.default_rng(0)
STATES, SIZE = 2, 2
PARAMS = {
    "transitions": np.array([[[0.9, 0.1], [-0.2, 0.7]], [[-0.5, 0.0], [0.3, 0.2]]]),
    "offset": np.array([[0.1, -0.2], [1.0, 0.5]]),
    "scale_tril": np.array([[[0.3, 0.0], [0.1, 0.4]], [[0.5, 0.0], [-0.2, 0.3]]]),
}


def joint(length):
    return vifx.Joint(
        vifx.factor("z", em.markov_chain(STATES, length=length), name="chain"),
        vifx.factor("x | z", em.autoregressive(STATES), name="emissions"),
    )


def log_density(x, path):
    """``Σ_t log N(x_t; A x_{t−1} + b, Σ)`` by SciPy, from 0."""
    total, before = 0.0, np.zeros(SIZE)
    for value, state in zip(x, path, strict=True):
        scale = PARAMS["scale_tril"][state]
        mean = PARAMS["transitions"][state] @ before + PARAMS["offset"][state]
        total += scipy.stats.multivariate_normal(mean, scale @ scale.T).logpdf(value)
        before = value
    return total


def test_the_likelihood_is_the_sum_over_all_paths(x64):
    length = 4
    x = DRAW.normal(size=(3, length, SIZE))
    generative = joint(length)
    inference = vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x"))
    objective = vifx.kl(inference, generative)
    chain = {"initial": np.log([0.3, 0.7]), "transitions": np.log([[0.8, 0.2], [0.4, 0.6]])}
    params = jax.tree.map(jnp.asarray, {"chain": chain, "emissions": PARAMS})
    _, state = objective.init(jax.random.key(0), {"x": jnp.asarray(x)})
    found, _ = jax.jit(objective.players["model"].loss)(jax.random.key(1), params, state, {"x": jnp.asarray(x)})
    totals = []
    for row in x:
        each = []
        for path in itertools.product(range(STATES), repeat=length):
            prior = chain["initial"][path[0]] + sum(chain["transitions"][i, j] for i, j in itertools.pairwise(path))
            each.append(prior + log_density(row, path))
        totals.append(np.logaddexp.reduce(each))
    np.testing.assert_allclose(found, -np.mean(totals), rtol=1e-12)


def test_the_m_step_is_weighted_least_squares(x64):
    family = em.autoregressive(STATES)
    x, shares = DRAW.normal(size=(5, 7, SIZE)), DRAW.dirichlet(np.ones(STATES), size=(5, 7))
    params = jax.tree.map(jnp.asarray, PARAMS)
    features = family.features({}, jnp.asarray(x))
    found = jax.jit(family.maximize)(params, {}, family.statistics((), features, jnp.asarray(shares)))
    before = np.concatenate([np.zeros((5, 1, SIZE)), x[:, :-1]], axis=1).reshape(-1, SIZE)
    design, target = np.concatenate([before, np.ones((35, 1))], axis=1), x.reshape(-1, SIZE)
    for state in range(STATES):
        weights = shares[..., state].ravel()
        root = np.sqrt(weights)[:, None]
        best = np.linalg.lstsq(root * design, root * target, rcond=None)[0].T
        residual = target - design @ best.T
        covariance = np.einsum("n,ni,nj->ij", weights, residual, residual) / weights.sum()
        np.testing.assert_allclose(found["transitions"][state], best[:, :SIZE], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found["offset"][state], best[:, SIZE], rtol=1e-10, atol=1e-12)
        scale = np.asarray(found["scale_tril"][state])
        np.testing.assert_allclose(scale @ scale.T, covariance, rtol=1e-10)
    nobody = family.maximize(params, {}, jnp.zeros((STATES, 2 * SIZE + 1, 2 * SIZE + 1)))
    for name, value in PARAMS.items():
        np.testing.assert_array_equal(nobody[name], value)


def test_a_floor_is_the_least_variance(x64):
    """Sequences that follow the regression exactly: every direction of the noise is at the floor."""
    family = em.autoregressive(1, floor=0.04)
    x = [np.array([[1.0, -1.0]] * 4)]
    for _ in range(5):
        x.append(x[-1] @ PARAMS["transitions"][0].T + PARAMS["offset"][0])
    x = np.stack(x[1:], axis=1)
    one = jnp.ones((*x.shape[:2], 1))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), PARAMS)
    # The first step has no step before it: it counts for nothing.
    found = family.maximize(
        params, {}, family.statistics((), family.features({}, jnp.asarray(x)), one.at[:, 0].set(0.0))
    )
    np.testing.assert_allclose(found["scale_tril"][0], 0.2 * np.eye(SIZE), rtol=1e-6, atol=1e-9)


@pytest.mark.thorough
def test_samples_are_regressions_on_the_step_before():
    """Whitened innovations of draws are standard normal; the mean is that of the recursion."""
    family = em.autoregressive(STATES)
    path = jnp.asarray([[0, 1, 1, 0, 1]])
    law, _ = family.apply(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS), {}, path)
    x = np.asarray(jax.jit(lambda key: law.sample(key, (4000,)))(jax.random.key(0)), np.float64)[:, 0]
    before, mean = np.zeros((4000, SIZE)), np.zeros(SIZE)
    for t, state in enumerate(np.asarray(path[0])):
        innovation = x[:, t] - before @ PARAMS["transitions"][state].T - PARAMS["offset"][state]
        white = np.linalg.solve(PARAMS["scale_tril"][state], innovation.T)
        assert scipy.stats.kstest(white.ravel(), "norm").pvalue > 1e-3
        mean = PARAMS["transitions"][state] @ mean + PARAMS["offset"][state]
        np.testing.assert_allclose(law.mean[0, t], mean, rtol=1e-5)
        before = x[:, t]
    expected = [log_density(row, path[0]) for row in x[:5]]
    np.testing.assert_allclose(law.log_prob(jnp.asarray(x[:5, None], jnp.float32))[:, 0], expected, rtol=1e-4)


@pytest.mark.thorough
def test_em_climbs_and_finds_the_regressions(x64):
    length = 60
    generative = joint(length)
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    chain = {"initial": np.zeros(2), "transitions": np.log([[0.95, 0.05], [0.05, 0.95]])}
    true = jax.tree.map(jnp.asarray, {"chain": chain, "emissions": PARAMS})
    x = generative.sample(jax.random.key(0), true, {}, examples=30).values["x"]
    params, state = objective.init(jax.random.key(1), {"x": x})
    step = training.solve(objective, "model")

    def turn(progress, _):
        progress, metrics = step.update(jax.random.key(0), progress, {"x": x})
        return progress, metrics["log_prob"]

    last, history = jax.jit(lambda p: jax.lax.scan(turn, training.Progress(p, state, ()), length=60))(params)
    assert np.diff(history).min() > -1e-10
    found = last.params["emissions"]["transitions"]
    order = [0, 1] if found[0, 0, 0] > found[1, 0, 0] else [1, 0]
    for name in ("transitions", "offset"):
        np.testing.assert_allclose(last.params["emissions"][name][jnp.asarray(order)], PARAMS[name], atol=0.1)


def test_a_forecast_goes_on_from_the_last_observation(x64):
    """In a state that is known and never left: the mean and the covariance of the next two steps."""
    model = em.hmm(em.autoregressive, STATES, length=3)
    stay = np.log([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]])
    params = jax.tree.map(jnp.asarray, {"chain": {"initial": np.zeros(2), "transitions": stay}, "emissions": PARAMS})
    x = DRAW.normal(size=(2, 3, SIZE)) * 3
    drawn = em.forecast(
        jax.random.key(0), model, params, {}, jnp.asarray(x), steps=2, samples=20_000, latent=jnp.array([0, 1])
    )
    for state in range(STATES):
        matrix, offset, scale = (PARAMS[name][state] for name in ("transitions", "offset", "scale_tril"))
        mean, covariance = x[state, -1], np.zeros((SIZE, SIZE))
        for step in range(2):
            mean, covariance = matrix @ mean + offset, matrix @ covariance @ matrix.T + scale @ scale.T
            found = np.asarray(drawn["x"])[:, state, step]
            white = np.linalg.solve(np.linalg.cholesky(covariance), (found - mean).T)
            assert scipy.stats.kstest(white.ravel(), "norm").pvalue > 1e-3


def test_bad_input(x64):
    family = em.autoregressive(2)
    with pytest.raises(ValueError, match=r"must be sequences of vectors \[examples, length, d\], got float64\[5, 3\]"):
        family.init(jax.random.key(0), jnp.zeros((5, 3)), jnp.zeros((5, 3), int))
    with pytest.raises(
        ValueError, match=r"must be a chain of states \[examples, length\], got shapes \[\[5, 3\], \[5\]"
    ):
        family.init(jax.random.key(0), jnp.zeros((5, 3, 1)), jnp.zeros((5, 3), int), jnp.ones(5, int))
