"""Products with logarithms of zero, and the entropies and divergences made of them, against scipy and limits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import Bernoulli, Categorical, Finite, MarkovChain
from vifx.distributions.log_zero import log_of, weighted, x_log_x

INF = np.inf


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_times_an_infinite_logarithm_is_nothing(dtype):
    with jax.enable_x64(dtype == "float64"):
        weight = jnp.array([0.0, 0.0, 0.0, 0.5, 0.5, 0.0], dtype)
        log = jnp.array([-INF, INF, np.nan, -INF, -2.0, -3.0], dtype)
        value, pull = jax.vjp(weighted, weight, log)
        np.testing.assert_array_equal(value, [0, 0, 0, -INF, -1, 0])
        by_weight, by_log = pull(jnp.ones_like(value))
        np.testing.assert_array_equal(by_weight, [0, 0, 0, -INF, -2, -3])
        np.testing.assert_array_equal(by_log, [0, 0, 0, 0.5, 0.5, 0])


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_x_log_x_and_its_slope_from_zero_on(dtype):
    with jax.enable_x64(dtype == "float64"):
        tiny, largest = (float(edge) for edge in (jnp.finfo(dtype).tiny, jnp.finfo(dtype).max))
        u = jnp.asarray([0.0, tiny, 3 * tiny, 1e-3, 1.0, 2.0, largest / 1e3], dtype)
        wide = np.asarray(u, np.float64)
        value, pull = jax.vjp(x_log_x, u)
        np.testing.assert_allclose(value, scipy.special.xlogy(wide, wide), rtol=1e-5)
        slope = pull(jnp.ones_like(u))[0]
        np.testing.assert_allclose(slope[2:], 1 + np.log(wide[2:]), rtol=1e-5)
        np.testing.assert_allclose(slope[:2], np.log(tiny), rtol=1e-5)
        np.testing.assert_allclose(log_of(u)[0], np.log(tiny), rtol=1e-5)


LOGITS = np.array([[0.0, 0.0, -INF], [0.0, -INF, -INF], [1.0, -200.0, 0.5]])


@pytest.mark.first(1)
@pytest.mark.parametrize("make", [Categorical, lambda logits: Finite(jnp.arange(3), logits)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_entropy_with_states_of_probability_zero(make, dtype):
    """``∂H/∂ℓ_k = −p_k (log p_k + H)``, which is 0 where p is."""
    with jax.enable_x64(dtype == "float64"):
        logits = jnp.asarray(LOGITS, dtype)
        value, pull = jax.vjp(lambda logits: make(logits).entropy(), logits)
        slope = pull(jnp.ones_like(value))[0]
    probs = scipy.special.softmax(LOGITS, axis=1)
    entropy = scipy.stats.entropy(probs, axis=1)
    np.testing.assert_allclose(value, entropy, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, -scipy.special.xlogy(probs, probs) - probs * entropy[:, None], atol=1e-6)


def test_a_certain_bernoulli():
    """Infinite logits: certainty costs nothing, its opposite everything, and no gradient is undefined."""
    logits = jnp.array([INF, -INF, INF, -INF, INF, 0.0])
    value = jnp.array([1.0, 0.0, 0.0, 1.0, 0.5, 1.0])
    found, pull = jax.vjp(lambda logits: Bernoulli(logits).log_prob(value), logits)
    np.testing.assert_allclose(found, [0, 0, -INF, -INF, -INF, -np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(found))[0], [0, 0, -1, 1, -0.5, 0.5])
    entropy, pull = jax.vjp(lambda logits: Bernoulli(logits).entropy(), logits)
    np.testing.assert_allclose(entropy, [0, 0, 0, 0, 0, np.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(pull(jnp.ones_like(entropy))[0], np.zeros(6))


def test_a_nearly_certain_bernoulli_keeps_its_digits():
    ours = Bernoulli(jnp.array([30.0, -30.0, 80.0])).log_prob(jnp.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(ours, scipy.special.log_expit(np.array([30.0, 30.0, 80.0])), rtol=1e-6)


@pytest.mark.thorough
def test_chains_whose_impossible_transitions_are_never_taken():
    """State 2 is never entered, so that what the other chain makes of it costs nothing."""
    first = jnp.array([0.0, 0.0, -INF])
    ours = jnp.array([[0.0, 1.0, -INF], [0.5, 0.0, -INF], [0.0, 0.0, 0.0]])
    theirs = jnp.array([[0.3, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -INF, -INF]])
    p, q = MarkovChain(first, ours, 4), MarkovChain(jnp.zeros(3), theirs, 4)
    paths = jnp.asarray(np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 4))
    log_p, log_q = (np.asarray(chain.log_prob(paths), np.float64) for chain in (p, q))
    taken = np.isfinite(log_p)
    expected = np.sum(np.exp(log_p[taken]) * (log_p[taken] - log_q[taken]))
    np.testing.assert_allclose(p.kl(q), expected, rtol=1e-5)
    slope = jax.grad(lambda ours: MarkovChain(first, ours, 4).kl(q))(ours)
    assert np.all(np.isfinite(slope))
