"""The distribution over given values against enumeration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import Finite

VALUES = np.array([[0, 0], [0, 1], [1, 0]])
LOGITS = np.random.default_rng(0).normal(size=(4, 3)) * 2


def test_log_prob_of_the_values_is_the_softmax(x64):
    law = Finite(jnp.asarray(VALUES), jnp.asarray(LOGITS))
    assert (law.batch_shape, law.event_shape) == ((4,), (2,))
    expected = scipy.special.log_softmax(LOGITS, axis=1)
    each = np.stack([np.asarray(law.log_prob(jnp.broadcast_to(jnp.asarray(v), (4, 2)))) for v in VALUES], axis=1)
    np.testing.assert_allclose(each, expected, rtol=1e-12)
    np.testing.assert_allclose(law.probs, np.exp(expected), rtol=1e-12)
    np.testing.assert_allclose(law.log_probs, expected, rtol=1e-12)
    mixed = law.log_prob(jnp.asarray(VALUES[[0, 1, 2, 0]]))
    np.testing.assert_allclose(mixed, expected[np.arange(4), [0, 1, 2, 0]], rtol=1e-12)


def test_what_is_none_of_the_values_is_impossible():
    law = Finite(jnp.asarray(VALUES), jnp.asarray(LOGITS, jnp.float32))
    np.testing.assert_array_equal(law.log_prob(jnp.full((4, 2), 1)), np.full(4, -np.inf))


def test_numbers_without_a_batch(x64):
    law = Finite(jnp.asarray([-1.0, 2.5]), jnp.asarray([0.0, np.log(3)]))
    np.testing.assert_allclose(law.log_prob(jnp.asarray([2.5, -1.0, 0.0])), [np.log(0.75), np.log(0.25), -np.inf])


def test_entropy_with_an_impossible_state(x64):
    logits = np.array([[0.0, -np.inf, 1.0], [0.3, 0.2, 0.1]])
    found = Finite(jnp.asarray(VALUES), jnp.asarray(logits)).entropy()
    np.testing.assert_allclose(found, scipy.stats.entropy(scipy.special.softmax(logits, axis=1), axis=1), rtol=1e-12)


def test_gradient_is_one_hot_minus_probs(x64):
    def log_prob(logits):
        return Finite(jnp.asarray(VALUES), logits).log_prob(jnp.asarray(VALUES[1]))

    slope = jax.jit(jax.grad(log_prob))(jnp.asarray(LOGITS[0]))
    np.testing.assert_allclose(slope, np.eye(3)[1] - scipy.special.softmax(LOGITS[0]), rtol=1e-12)


def test_samples_pass_chi_square():
    law = Finite(jnp.asarray(VALUES), jnp.asarray(LOGITS, jnp.float32))
    draws = np.asarray(law.sample(jax.random.key(0), (20_000,)))
    for row in range(4):
        observed = [(draws[:, row] == value).all(axis=1).sum() for value in VALUES]
        expected = scipy.special.softmax(LOGITS[row]) * 20_000
        assert scipy.stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


def test_the_support_is_the_values():
    law = Finite(jnp.asarray(VALUES), jnp.asarray(LOGITS, jnp.float32))
    np.testing.assert_array_equal(law.enumerate_support(expand=False)[:, 0], VALUES)
    np.testing.assert_array_equal(law.enumerate_support()[:, 3], VALUES)
    assert law.enumerate_support().shape == (3, 4, 2)


@pytest.mark.parametrize("logits", [jnp.zeros((4, 2)), jnp.zeros(())])
def test_one_logit_for_every_value(logits):
    with pytest.raises(ValueError, match=r"must have one entry on the last axis for each of the values"):
        Finite(jnp.asarray(VALUES), logits)


def test_it_leaves_a_compiled_function_whole():
    law = jax.jit(lambda logits: Finite(jnp.asarray(VALUES), logits))(jnp.asarray(LOGITS, jnp.float32))
    np.testing.assert_array_equal(law.values, VALUES)
    np.testing.assert_allclose(law.probs, scipy.special.softmax(LOGITS, axis=1), rtol=1e-5)
    assert law.event_shape == (2,)
