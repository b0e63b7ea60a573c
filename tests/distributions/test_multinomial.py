"""The multinomial distribution against scipy and autodiff."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import Multinomial

LOGITS = np.random.default_rng(0).normal(size=(2, 3))


def test_log_prob_is_scipys_whatever_the_trials(x64):
    values = np.array([[[0, 1, 3], [7, 5, 2]], [[0, 0, 0], [1, 0, 0]]])
    found = Multinomial(jnp.asarray(LOGITS)).log_prob(jnp.asarray(values))
    shares = np.broadcast_to(scipy.special.softmax(LOGITS, axis=1), values.shape)
    np.testing.assert_allclose(found, scipy.stats.multinomial.logpmf(values, values.sum(-1), shares), atol=1e-12)


def test_impossible_values(x64):
    found = Multinomial(jnp.asarray([0.0, -jnp.inf])).log_prob(jnp.asarray([[2, 0], [1, 1]]))
    np.testing.assert_allclose(found, [0.0, -np.inf], atol=1e-14)


def test_gradient_is_the_residual(x64):
    x = jnp.asarray([2, 0, 5])
    slope = jax.grad(lambda logits: Multinomial(logits).log_prob(x))(jnp.asarray(LOGITS[0]))
    np.testing.assert_allclose(slope, np.asarray(x) - 7 * scipy.special.softmax(LOGITS[0]), rtol=1e-11)


def test_samples_pass_chi_square():
    draws = np.asarray(Multinomial(jnp.asarray(LOGITS, jnp.float32), trials=2).sample(jax.random.key(0), (20_000,)))
    outcomes = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    for row in range(2):
        shares = scipy.special.softmax(LOGITS[row])
        expected = scipy.stats.multinomial.pmf(outcomes, 2, shares) * 20_000
        observed = [(draws[:, row] == outcome).all(axis=1).sum() for outcome in outcomes]
        assert scipy.stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="sampled with a number of trials; give trials="):
        Multinomial(jnp.zeros(3)).sample(jax.random.key(0))
    with pytest.raises(ValueError, match="logits must have a last axis"):
        Multinomial(jnp.zeros(()))
