"""Rényi bounds: between known ends, by enumeration and by quadrature, in value and gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from identities import spaces
from scipy.special import logsumexp
from variational.test_gradients import BATCH, LIMIT, estimates, exact_gradient, joints, z_scores

import vifx
from vifx.variational.bounds import _learning_signal, log_power_mean


def value_and_gradient(objective, params, state, batch):
    loss = objective.players["model"].loss
    run = jax.value_and_grad(lambda p: loss(jax.random.key(0), p, state, batch)[0])
    return jax.jit(run)(params)


def started(batch, seed=0):
    pair = spaces.vae()
    params, state = vifx.kl(*pair).init(jax.random.key(seed), batch)
    return pair, jax.tree.map(lambda leaf: 1.5 * jax.random.normal(jax.random.key(seed), leaf.shape), params), state


@pytest.mark.first(1)
@pytest.mark.parametrize("make", [spaces.vae, spaces.top_down], ids=["vae", "top_down"])
@pytest.mark.parametrize(("alpha", "samples"), [(0.5, 2), (-1.0, 3), (0.0, 3), (1.0, 2), (2.5, 2), (1 - 1e-6, 2)])
def test_equals_the_enumeration_of_all_tuples(make, alpha, samples):
    with jax.enable_x64(True):
        batch = spaces.batch()
        objective = vifx.renyi(*make(), alpha=alpha, samples=samples)
        params, state = jax.jit(objective.init)(jax.random.key(3), batch)
        verified = vifx.verify(objective, params, state, batch)["model"]
        tolerance = 1e-12 if abs(alpha - 1) > 0.1 or alpha == 1 else 1e-9  # the oracle divides by 1 − α
        assert verified.value_error < tolerance
        assert verified.gradient_error < tolerance


@pytest.mark.thorough
def test_has_the_elbo_and_the_importance_weighted_bound_as_ends():
    with jax.enable_x64(True):
        batch = spaces.batch()
        pair, params, state = started(batch)

        def at(alpha):
            return value_and_gradient(vifx.renyi(*pair, alpha=alpha, samples=3), params, state, batch)

        for alpha, end in ((1.0, vifx.kl(*pair)), (0.0, vifx.importance_weighted(*pair, samples=3))):
            expected = value_and_gradient(end, params, state, batch)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), at(alpha), expected)
            near = at(alpha + 1e-7)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), near, expected)
        values = [float(at(alpha)[0]) for alpha in (-2, -0.5, 0, 0.5, 1, 2, 5)]
        assert np.all(np.diff(values) > 0)  # the bound falls as α grows, so the loss rises
        likelihood = value_and_gradient(vifx.importance_weighted(*pair, samples=1), params, state, batch)[0]
        assert values[4] == pytest.approx(float(likelihood), rel=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("alpha", [-40.0, -1.0, 0.3, 0.999999, 1.0, 1.000001, 3.0])
def test_power_means_lose_no_digits_near_one(alpha):
    log_weight = np.array([[-300.0, 2.0, -1.0, 0.5], [1e-3, 0.0, 2e-3, 1e-3]], np.float64).T
    found = log_power_mean(jnp.asarray(log_weight, jnp.float32), alpha, axis=0)
    power = (1 - alpha) * log_weight
    exact = log_weight.mean(axis=0) if abs(alpha - 1) < 1e-9 else (logsumexp(power, axis=0) - np.log(4)) / (1 - alpha)
    np.testing.assert_allclose(found, exact, rtol=2e-4)
    gradient = jax.grad(lambda w: log_power_mean(w, alpha, axis=0).sum())(jnp.asarray(log_weight, jnp.float32))
    share = np.exp(power - logsumexp(power, axis=0, keepdims=True))
    np.testing.assert_allclose(gradient, share, rtol=1e-3, atol=1e-6)


@pytest.mark.first(1)
@pytest.mark.parametrize("gradient", ["doubly_reparameterized", "reparameterized", "vimco"])
@pytest.mark.parametrize("alpha", [0.5, -1.0, 2.0])
def test_gradients_are_unbiased(alpha, gradient):
    objective = vifx.renyi(*joints(), alpha=alpha, samples=2, gradient=gradient)
    params, (value, grads) = estimates(objective)
    true_value, true_gradient = exact_gradient(params, 2, alpha)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


@pytest.mark.thorough
def test_sticking_the_landing_is_caught_for_other_alpha():
    """The control: biased for the encoder unless α = 1, where it is the mean of unbiased terms."""
    params, (_, grads) = estimates(vifx.renyi(*joints(), alpha=0.5, samples=2, gradient="sticking_the_landing"))
    _, truth = exact_gradient(params, 2, 0.5)
    assert max(map(abs, z_scores(grads["encoder"], truth["encoder"]))) > 3 * LIMIT
    params, (_, grads) = estimates(vifx.renyi(*joints(), alpha=1.0, samples=2, gradient="sticking_the_landing"))
    _, truth = exact_gradient(params, 1)
    assert max(map(abs, z_scores(grads, truth))) < LIMIT


@pytest.mark.thorough
def test_metrics_explanation_and_wrong_arguments():
    pair = joints()
    objective = vifx.renyi(*pair, alpha=0.5, samples=4, name="a")
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    loss, aux = objective.players["model"].loss(jax.random.key(1), params, state, batch)
    assert {*aux.metrics} == {"a/renyi", "a/elbo", "a/effective_samples"}
    assert float(aux.metrics["a/renyi"]) == -float(loss) > float(aux.metrics["a/elbo"])
    text = vifx.explain(objective, batch)
    assert "Rényi bound, α = 0.5, K = 4" in text
    assert "by power means and Jensen's inequality" in text
    assert "bounds nothing" in vifx.explain(vifx.renyi(*pair, alpha=-1.0, samples=4))
    for alpha in (float("nan"), float("inf"), "half"):
        with pytest.raises((ValueError, TypeError), match="renyi: alpha must be a finite number"):
            vifx.renyi(*pair, alpha=alpha, samples=2)
    with pytest.raises(ValueError, match="renyi: gradient must be one of"):
        vifx.renyi(*pair, alpha=0.5, samples=2, gradient="score")
    with pytest.raises(ValueError, match="renyi: samples must be at least 2 with gradient='vimco'"):
        vifx.renyi(*pair, alpha=0.5, samples=1, gradient="vimco")


@pytest.mark.thorough
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_learning_signal_compares_each_draw_with_the_mean_of_the_others(alpha):
    log_weight = np.random.default_rng(0).normal(size=(2, 4, 3))
    found = _learning_signal(jnp.asarray(log_weight, jnp.float32), alpha)

    def mean(w):
        return w.mean(axis=1) if alpha == 1 else (logsumexp((1 - alpha) * w, axis=1) - np.log(4)) / (1 - alpha)

    for k in range(4):
        others = np.delete(log_weight, k, axis=1).mean(axis=1, keepdims=True)
        replaced = np.concatenate([np.delete(log_weight, k, axis=1), others], axis=1)
        np.testing.assert_allclose(found[:, k], mean(log_weight) - mean(replaced), rtol=1e-4, atol=1e-5)
