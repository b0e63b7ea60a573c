"""The Poisson distribution against scipy and autodiff."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vifx.distributions import Poisson

LOG_RATE = np.array([[-3.0, 0.0, 1.0], [2.0, 4.0, 6.0]])


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.float64])
def test_log_prob_is_scipys(x64, dtype):
    values = np.array([[[0, 1, 3], [7, 50, 200]], [[2, 0, 0], [0, 60, 255]]])
    found = Poisson(jnp.asarray(LOG_RATE)).to_event(1).log_prob(jnp.asarray(values, dtype))
    np.testing.assert_allclose(found, scipy.stats.poisson.logpmf(values, np.exp(LOG_RATE)).sum(-1), rtol=1e-12)


def test_a_rate_of_zero_is_a_count_of_zero():
    found = Poisson(jnp.full(2, -jnp.inf)).log_prob(jnp.asarray([0, 1]))
    np.testing.assert_allclose(found, [0.0, -np.inf], rtol=1e-6, atol=1e-6)


def test_gradient_is_the_residual(x64):
    for x in (0, 3):
        slope = jax.grad(lambda a, x=x: Poisson(a).log_prob(jnp.full(LOG_RATE.shape, x)).sum())(jnp.asarray(LOG_RATE))
        np.testing.assert_allclose(slope, x - np.exp(LOG_RATE), rtol=1e-12)


def test_samples_have_the_rate():
    draws = np.asarray(Poisson(jnp.asarray(LOG_RATE[0], jnp.float32)).sample(jax.random.key(0), (20_000,)))
    assert np.issubdtype(draws.dtype, np.integer)
    for column, rate in enumerate(np.exp(LOG_RATE[0])):
        observed = np.bincount(np.minimum(draws[:, column], 4), minlength=5)
        shares = np.append(scipy.stats.poisson.pmf(np.arange(4), rate), scipy.stats.poisson.sf(3, rate))
        kept = shares * 20_000 > 5
        expected = np.append(shares[kept], shares[~kept].sum()) * 20_000
        observed = np.append(observed[kept], observed[~kept].sum())
        kept = expected > 0
        assert scipy.stats.chisquare(observed[kept], expected[kept], sum_check=False).pvalue > 1e-4


def test_mean_and_variance_are_the_rate(x64):
    found = Poisson(jnp.asarray(LOG_RATE))
    np.testing.assert_allclose(found.mean, np.exp(LOG_RATE), rtol=1e-12)
    np.testing.assert_allclose(found.variance, scipy.stats.poisson.var(np.exp(LOG_RATE)), rtol=1e-12)
