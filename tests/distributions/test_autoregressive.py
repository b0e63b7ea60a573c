"""Sequences of symbols by a table of all their beginnings, against enumeration."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from vifx.distributions import Autoregressive

CLASSES, LENGTH, EXAMPLES = 3, 3, 2
PATHS = np.array(list(itertools.product(range(CLASSES), repeat=LENGTH)))
TABLE = np.random.default_rng(0).normal(size=(EXAMPLES, LENGTH, CLASSES**LENGTH, CLASSES))


def beginnings(rows):
    """The number that stands for the symbols before each place."""
    return jnp.stack([jnp.zeros_like(rows[:, 0]), rows[:, 0], CLASSES * rows[:, 0] + rows[:, 1]], axis=1)


def logits(rows):
    """Of each example its own table, copy by copy."""
    examples = jnp.arange(len(rows)) % EXAMPLES
    return jnp.asarray(TABLE)[examples[:, None], jnp.arange(LENGTH)[None], beginnings(rows)]


def expected(example, path):
    total, before = 0.0, 0
    for place, symbol in enumerate(path):
        total += log_softmax(TABLE[example, place, before])[symbol]
        before = CLASSES * before + symbol
    return total


LAW = Autoregressive(logits, EXAMPLES, LENGTH, CLASSES)
ORACLE = np.array([[expected(example, path) for example in range(EXAMPLES)] for path in PATHS])


@pytest.mark.thorough
def test_log_prob_is_the_sum_over_places_of_every_example_and_copy(x64):
    values = jnp.broadcast_to(jnp.asarray(PATHS)[:, None], (len(PATHS), EXAMPLES, LENGTH))
    np.testing.assert_allclose(LAW.log_prob(values), ORACLE, rtol=1e-12)
    np.testing.assert_allclose(LAW.log_prob(values[4]), ORACLE[4], rtol=1e-12)
    np.testing.assert_allclose(np.exp(ORACLE).sum(axis=0), 1, rtol=1e-12)


def test_samples_come_as_often_as_they_are_probable(x64):
    draws = 6000
    samples = np.asarray(jax.jit(lambda key: LAW.sample(key, (draws,)))(jax.random.key(0)))
    assert samples.shape == (draws, EXAMPLES, LENGTH)
    codes = samples @ CLASSES ** np.arange(LENGTH)[::-1]
    for example in range(EXAMPLES):
        share = np.bincount(codes[:, example], minlength=len(PATHS)) / draws
        probs = np.exp(ORACLE[:, example])
        assert (np.abs(share - probs) < 4.5 * np.sqrt(probs * (1 - probs) / draws) + 1e-3).all()


def test_what_is_trained_with_dropped_symbols_is_sampled_without(x64):
    flat = Autoregressive(logits, EXAMPLES, LENGTH, CLASSES, lambda rows: jnp.zeros((*rows.shape, CLASSES)))
    np.testing.assert_allclose(flat.log_prob(jnp.asarray(PATHS[:2])), -LENGTH * np.log(CLASSES), rtol=1e-12)
    one, other = (law.sample(jax.random.key(1), (5,)) for law in (flat, LAW))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("outside", [[0, 1, 3], [-1, 0, 0]])
def test_symbols_that_are_none_have_probability_zero(outside):
    assert np.isneginf(LAW.log_prob(jnp.asarray([outside, [0, 1, 2]]))).tolist() == [True, False]
    assert (LAW.batch_shape, LAW.event_shape) == ((EXAMPLES,), (LENGTH,))
