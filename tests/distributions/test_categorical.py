"""The categorical distribution against scipy and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import Categorical, uniform_categorical


def logits_of(*shape):
    return np.random.default_rng(1).normal(size=shape) * 3


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_log_prob_of_integers_is_scipys(x64, dtype):
    logits = logits_of(5, 4)
    labels = np.array([[0, 1, 2, 3, 3], [3, 0, 1, 2, 0]])
    expected = np.take_along_axis(scipy.special.log_softmax(logits, -1), labels.T, -1).T
    ours = Categorical(jnp.asarray(logits)).log_prob(jnp.asarray(labels, dtype))
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


def test_weights_are_scored_by_cross_entropy(x64):
    logits = logits_of(5, 4)
    weights = np.random.default_rng(2).dirichlet(np.ones(4), 5)
    distribution = Categorical(jnp.asarray(logits))
    expected = (weights * scipy.special.log_softmax(logits, -1)).sum(-1)
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(weights)), expected, rtol=1e-13)
    labels = jnp.array([0, 1, 2, 3, 3])
    np.testing.assert_allclose(
        distribution.log_prob(jax.nn.one_hot(labels, 4)), distribution.log_prob(labels), rtol=1e-13
    )


def test_weights_of_the_wrong_length_are_refused():
    with pytest.raises(ValueError, match=r"last axis of 4 classes.*\(5,\).*integers"):
        Categorical(jnp.zeros((5, 4))).log_prob(jnp.zeros(5))
    with pytest.raises(ValueError, match=r"logits must have a last axis"):
        Categorical(jnp.zeros(()))


def test_support_and_entropy_by_enumeration(x64):
    logits = logits_of(3, 4)
    distribution = Categorical(jnp.asarray(logits))
    support = distribution.enumerate_support(expand=False)
    assert distribution.has_enumerate_support
    assert support.shape == (4, 1)
    np.testing.assert_array_equal(distribution.enumerate_support()[:, 2], np.arange(4))
    log_probs = np.asarray(distribution.log_prob(support))
    np.testing.assert_allclose(np.exp(log_probs), scipy.special.softmax(logits, -1).T, rtol=1e-13)
    np.testing.assert_allclose(distribution.probs.T, np.exp(log_probs), rtol=1e-13)
    np.testing.assert_allclose(distribution.entropy(), -(np.exp(log_probs) * log_probs).sum(0), rtol=1e-12)


def test_gradient_is_one_hot_minus_probs(x64):
    logits = jnp.asarray(logits_of(4))
    slope = jax.grad(lambda ell: Categorical(ell).log_prob(jnp.asarray(2)))(logits)
    np.testing.assert_allclose(slope, np.eye(4)[2] - scipy.special.softmax(np.asarray(logits)), rtol=1e-12)


def test_samples_pass_chi_square():
    logits = logits_of(2, 5)
    draws = np.asarray(Categorical(jnp.asarray(logits, jnp.float32)).sample(jax.random.key(0), (40_000,)))
    assert np.issubdtype(draws.dtype, np.integer)
    for row in range(2):
        expected = scipy.special.softmax(logits[row]) * 40_000
        assert scipy.stats.chisquare(np.bincount(draws[:, row], minlength=5), expected, sum_check=False).pvalue > 1e-4


def test_uniform_categorical():
    prior = uniform_categorical(10)
    assert (prior.batch_shape, prior.event_shape) == ((), ())
    np.testing.assert_allclose(prior.log_prob(jnp.arange(10)), -np.log(10), rtol=1e-6)
    with pytest.raises(ValueError, match="classes must be an integer ≥ 1, got 0"):
        uniform_categorical(0)
