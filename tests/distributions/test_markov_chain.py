"""Markov chains against enumeration of all sequences, by value and by gradient."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.distributions import Categorical, EachStep, MarkovChain
from vifx.distributions.kl_estimates import estimate

STATES, LENGTH, BATCH = 3, 4, 2
PATHS = np.array(list(itertools.product(range(STATES), repeat=LENGTH)))
GENERATOR = np.random.default_rng(0)
INITIAL, OTHER = GENERATOR.normal(size=(2, BATCH, STATES))
SHARED, OTHER_SHARED = GENERATOR.normal(size=(2, STATES, STATES))
EACH, OTHER_EACH = GENERATOR.normal(size=(2, BATCH, LENGTH - 1, STATES, STATES))
TABLES = {"shared": (SHARED, OTHER_SHARED), "each": (EACH, OTHER_EACH)}


def log_softmax(logits):
    return logits - jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)


def enumerated(initial, transitions):
    """``log P`` of every sequence by the product formula, ``[batch, sequences]``."""
    table = jnp.broadcast_to(log_softmax(transitions), (BATCH, LENGTH - 1, STATES, STATES))
    total = log_softmax(initial)[:, PATHS[:, 0]]
    for t in range(LENGTH - 1):
        total = total + table[:, t, PATHS[:, t], PATHS[:, t + 1]]
    return total


def chain(kind, parallel=False, other=False):
    initial, transitions = OTHER if other else INITIAL, TABLES[kind][other]
    return MarkovChain(jnp.asarray(initial), jnp.asarray(transitions), LENGTH, parallel=parallel)


@pytest.mark.parametrize("kind", TABLES)
def test_log_prob_is_the_product(x64, kind):
    own = chain(kind)
    found = jax.jit(lambda: jax.vmap(own.log_prob)(jnp.broadcast_to(PATHS[:, None], (len(PATHS), BATCH, LENGTH))))()
    np.testing.assert_allclose(found.T, jax.jit(enumerated)(INITIAL, TABLES[kind][0]), rtol=1e-13)
    assert float(own.log_prob(jnp.array([[0, 1, 3, 0], [0, -1, 0, 0]])).max()) == -np.inf


@pytest.mark.first(1)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kind", TABLES)
def test_marginals_entropy_divergence_and_mode_are_those_of_all_sequences(x64, kind, parallel):
    def found(initial, transitions):
        own, other = MarkovChain(initial, transitions, LENGTH, parallel=parallel), chain(kind, parallel, other=True)
        kl = estimate(own, other).value(jax.random.key(0))
        return {"marginals": own.marginals, "pairs": own.pair_marginals, "entropy": own.entropy(), "kl": kl}

    def expected(initial, transitions):
        log_prob = enumerated(initial, transitions)
        prob = jnp.exp(log_prob)
        each = jax.nn.one_hot(PATHS, STATES)
        pairs = each[:, :-1, :, None] * each[:, 1:, None, :]
        apart = log_prob - enumerated(OTHER, TABLES[kind][1])
        return {
            "marginals": jnp.einsum("bs,stk->btk", prob, each),
            "pairs": jnp.einsum("bs,stij->btij", prob, pairs),
            "entropy": -jnp.sum(prob * log_prob, axis=1),
            "kl": jnp.sum(prob * apart, axis=1),
        }

    at = (jnp.asarray(INITIAL), jnp.asarray(TABLES[kind][0]))
    assert_same(jax.jit(found)(*at), jax.jit(expected)(*at))
    noise = np.random.default_rng(1)
    shapes = jax.eval_shape(found, *at)
    weights = {name: jnp.asarray(noise.normal(size=leaf.shape)) for name, leaf in shapes.items()}

    def weighted(function):
        return jax.jit(jax.grad(lambda *at: sum(jnp.sum(weights[k] * v) for k, v in function(*at).items()), (0, 1)))(
            *at
        )

    assert_same(weighted(found), weighted(expected))
    best = np.asarray(enumerated(*at)).argmax(axis=1)
    np.testing.assert_array_equal(jax.jit(lambda: chain(kind, parallel).most_likely())(), PATHS[best])


def assert_same(found, expected):
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", TABLES)
def test_samples_have_the_pair_marginals(kind):
    own = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), chain(kind))
    drawn = np.asarray(jax.jit(lambda key: own.sample(key, (20000,)))(jax.random.key(0)))
    for t in range(LENGTH - 1):
        for b in range(BATCH):
            counts = np.zeros((STATES, STATES))
            np.add.at(counts, (drawn[:, b, t], drawn[:, b, t + 1]), 1 / len(drawn))
            np.testing.assert_allclose(counts, own.pair_marginals[b, t], atol=0.015)


def test_what_is_impossible_counts_for_nothing(x64):
    """A chain that only moves on, compared with one that may do anything, by value and by gradient."""
    never = -np.inf
    initial = jnp.array([[0.0, never, never]])
    onward = jnp.array([[0.3, 0.1, never], [never, 0.2, 0.5], [never, never, never]])

    def value(logits, parallel):
        own = MarkovChain(initial, jnp.where(jnp.isfinite(onward), logits, -jnp.inf), LENGTH, parallel=parallel)
        other = MarkovChain(jnp.zeros((1, 3)), jnp.asarray(SHARED), LENGTH)
        return jnp.sum(own.kl(other) + own.entropy() + own.marginals[:, -1, 1])

    # The last state is never left but to itself: its row of −∞ is read as uniform.
    rows = np.exp(np.where(np.isfinite(onward), onward, never))
    rows[2] = 1.0
    table = rows / rows.sum(1, keepdims=True)
    prob = np.where(PATHS[:, 0] == 0, 1.0, 0.0)
    for t in range(LENGTH - 1):
        prob = prob * table[PATHS[:, t], PATHS[:, t + 1]]
    other = np.asarray(
        jax.jit(lambda: MarkovChain(jnp.zeros(3), jnp.asarray(SHARED), LENGTH).log_prob(jnp.asarray(PATHS)))()
    )
    expected = -np.sum(prob * other) + np.sum(prob[PATHS[:, -1] == 1])
    run = jax.jit(jax.value_and_grad(value), static_argnums=1)
    (found, gradient), (again, by_scan) = (run(onward, parallel) for parallel in (False, True))
    np.testing.assert_allclose([found, again], [expected, expected], rtol=1e-12)
    assert bool(jnp.all(jnp.isfinite(gradient)))
    np.testing.assert_allclose(gradient, by_scan, atol=1e-12)


@pytest.mark.thorough
def test_one_step_is_a_categorical(x64):
    own = MarkovChain(jnp.asarray(INITIAL), jnp.zeros((STATES, STATES)), 1)
    peer = Categorical(jnp.asarray(INITIAL))
    np.testing.assert_allclose(own.log_prob(jnp.array([[2], [0]])), peer.log_prob(jnp.array([2, 0])), rtol=1e-13)
    np.testing.assert_allclose(own.entropy(), -np.sum(peer.probs * np.log(peer.probs), axis=1), rtol=1e-12)
    np.testing.assert_array_equal(own.most_likely()[:, 0], INITIAL.argmax(1))
    assert own.sample(jax.random.key(0), (7,)).max() < STATES


@pytest.mark.thorough
def test_each_step_adds_up_the_steps_that_there_are(x64):
    logits = GENERATOR.normal(size=(6, 2))
    value = jnp.array([[0, 1, 1], [1, 0, 1]])
    each = EachStep(Categorical(jnp.asarray(logits)), 3, lengths=jnp.array([3, 1]))
    steps = np.asarray(log_softmax(logits))[np.arange(6), np.asarray(value).ravel()].reshape(2, 3)
    np.testing.assert_allclose(each.log_prob(value), [steps[0].sum(), steps[1, 0]], rtol=1e-13)
    np.testing.assert_allclose(each.log_prob(jnp.stack([value, 1 - value]))[0], each.log_prob(value), rtol=1e-13)
    certain = EachStep(Categorical(jnp.asarray([[0.0, -np.inf], [-np.inf, 0.0]] * 3)), 3)
    np.testing.assert_array_equal(certain.sample(jax.random.key(0), (4,)), [[[0, 1, 0], [1, 0, 1]]] * 4)
    with pytest.raises(ValueError, match=r"expected \[sequences × 4\]"):
        EachStep(Categorical(jnp.asarray(logits)), 4)


def test_bad_input():
    with pytest.raises(ValueError, match="length must be an integer ≥ 1, got 0"):
        MarkovChain(jnp.zeros(3), jnp.zeros((3, 3)), 0)
    with pytest.raises(ValueError, match=r"= \[5, 3, 3, 3\] for initial_logits of shape \[5, 3\] and length 4"):
        MarkovChain(jnp.zeros((5, 3)), jnp.zeros((5, 4, 3, 3)), 4)
    with pytest.raises(ValueError, match="2 states and length 4; make the two agree"):
        MarkovChain(jnp.zeros(3), jnp.zeros((3, 3)), 4).kl(MarkovChain(jnp.zeros(2), jnp.zeros((2, 2)), 4))
