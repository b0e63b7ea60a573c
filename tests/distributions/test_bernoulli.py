"""The Bernoulli distribution against scipy, enumeration and autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import Bernoulli

LOGITS = np.array([[-30.0, -2.0, 0.0], [0.7, 4.0, 30.0]])


def test_log_prob_is_scipys(x64):
    values = np.array([[[0, 1, 1], [1, 0, 1]], [[1, 0, 0], [0, 1, 0]]])
    ours = Bernoulli(jnp.asarray(LOGITS)).to_event(1).log_prob(jnp.asarray(values))
    expected = np.where(values, scipy.special.log_expit(LOGITS), scipy.special.log_expit(-LOGITS)).sum(-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.int32, jnp.float32])
def test_log_prob_takes_any_binary_dtype(dtype):
    logits = jnp.asarray(LOGITS, jnp.float32)
    ones = jnp.ones(LOGITS.shape, dtype)
    np.testing.assert_allclose(Bernoulli(logits).log_prob(ones), jax.nn.log_sigmoid(logits), rtol=1e-6, atol=1e-6)


def test_soft_pixels_are_scored_by_cross_entropy(x64):
    soft = np.array([[0.0, 0.2, 0.5], [0.9, 1.0, 0.4]])
    probability = scipy.special.expit(LOGITS)
    complement = scipy.special.expit(-LOGITS)
    expected = soft * np.log(probability) + (1 - soft) * np.log(complement)
    ours = Bernoulli(jnp.asarray(LOGITS)).log_prob(jnp.asarray(soft))
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)
    slope = jax.grad(lambda x: Bernoulli(jnp.asarray(LOGITS)).log_prob(x).sum())(jnp.asarray(soft))
    np.testing.assert_allclose(slope, LOGITS, rtol=1e-13)


def test_gradient_is_the_residual_and_finite_when_saturated(x64):
    logits = jnp.array([-80.0, -1.0, 0.0, 2.0, 80.0])
    for x in (0.0, 0.3, 1.0):
        slope = jax.grad(lambda ell, x=x: Bernoulli(ell).log_prob(jnp.full(5, x)).sum())(logits)
        np.testing.assert_allclose(slope, x - scipy.special.expit(np.asarray(logits)), rtol=1e-12, atol=1e-15)


def test_support_mean_variance_and_entropy_by_enumeration(x64):
    distribution = Bernoulli(jnp.asarray(LOGITS))
    support = distribution.enumerate_support(expand=False)
    assert distribution.has_enumerate_support
    assert support.shape == (2, 1, 1)
    assert not distribution.has_rsample
    np.testing.assert_array_equal(distribution.enumerate_support()[:, 1, 2], [0.0, 1.0])
    log_probs = np.asarray(distribution.log_prob(support))
    probs = np.exp(log_probs)
    values = np.asarray(support)
    np.testing.assert_allclose(probs.sum(0), 1.0, rtol=1e-14)
    np.testing.assert_allclose(distribution.mean, (probs * values).sum(0), rtol=1e-12)
    np.testing.assert_allclose(
        distribution.variance,
        (probs * (values - np.asarray(distribution.mean)) ** 2).sum(0),
        rtol=1e-12,
        atol=1e-30,
    )
    np.testing.assert_allclose(distribution.entropy(), -(probs * log_probs).sum(0), rtol=1e-12, atol=1e-13)


def test_samples_are_zeros_and_ones_in_the_right_proportion():
    logits = jnp.array([-2.0, 0.0, 1.0])
    draws = Bernoulli(logits).sample(jax.random.key(0), (50_000,))
    assert draws.dtype == logits.dtype
    assert set(np.unique(draws)) == {0.0, 1.0}
    for count, logit in zip(np.asarray(draws).sum(0), np.asarray(logits, np.float64), strict=True):
        assert scipy.stats.binomtest(int(count), 50_000, scipy.special.expit(logit)).pvalue > 1e-5
