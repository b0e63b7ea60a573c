"""The family of Markov chains: its M step by a minimizer's condition, observed chains, priors and lengths."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import em, training

STATES, LENGTH = 3, 5
PATHS = np.array(list(itertools.product(range(STATES), repeat=LENGTH)))
GENERATOR = np.random.default_rng(0)
CHAINS = GENERATOR.integers(0, STATES, size=(12, LENGTH))
PARAMS = {"initial": GENERATOR.normal(size=STATES), "transitions": GENERATOR.normal(size=(STATES, STATES))}


def params_of(dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), PARAMS)


def test_features_times_parameters_are_the_log_prob(x64):
    family, params = em.markov_chain(STATES, length=LENGTH), params_of(jnp.float64)
    by_features = family.log_probs(family.prepare(params, {}), family.features({}, jnp.asarray(PATHS)))[:, 0]
    log_prob = family.apply(params, {})[0].log_prob(jnp.asarray(PATHS))
    np.testing.assert_allclose(by_features, log_prob, rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1, rtol=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize("options", [{}, {"prior": em.Dirichlet(2.5)}, {"prior": em.Dirichlet(1.5), "stickiness": 3.0}])
def test_observed_chains_are_counted_and_the_prior_adds_its_counts(x64, options):
    family = em.markov_chain(STATES, length=LENGTH, **options)
    generative = vifx.Joint(vifx.factor("z", family, name="chain"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("z")), generative)
    batch = {"z": jnp.asarray(CHAINS)}
    params, state = objective.init(jax.random.key(0), batch)
    step = training.solve(objective, "model")
    progress, _ = jax.jit(lambda p: step.update(jax.random.key(0), training.Progress(p, state, ()), batch))(params)
    new = jax.tree.map(np.exp, progress.params["chain"])
    alpha = options["prior"].concentration if "prior" in options else 1.0
    kappa = options.get("stickiness", 0.0)
    first = np.bincount(CHAINS[:, 0], minlength=STATES) + alpha - 1
    pairs = np.zeros((STATES, STATES))
    np.add.at(pairs, (CHAINS[:, :-1], CHAINS[:, 1:]), 1)
    pairs += alpha - 1 + kappa * np.eye(STATES)
    np.testing.assert_allclose(new["initial"], first / first.sum(), rtol=1e-12)
    np.testing.assert_allclose(new["transitions"], pairs / pairs.sum(1, keepdims=True), rtol=1e-12)

    def objective_of(own):
        log_prob = family.apply(own, {})[0].log_prob(batch["z"])
        return jnp.sum(log_prob) + family.log_prior(own, {})

    value, gradient = jax.jit(jax.value_and_grad(objective_of))(progress.params["chain"])
    jax.tree.map(lambda leaf: np.testing.assert_allclose(leaf, 0, atol=1e-11), gradient)
    assert value > objective_of(params["chain"])
    own = params_of(jnp.float64)
    shares = jax.tree.map(lambda leaf: np.asarray(jax.nn.log_softmax(leaf)), own)
    prior = (alpha - 1) * (shares["initial"].sum() + shares["transitions"].sum())
    np.testing.assert_allclose(family.log_prior(own, {}), prior + kappa * np.trace(shares["transitions"]), rtol=1e-12)


def test_counts_of_zero_keep_parameters_and_what_is_impossible_stays():
    family, params = em.markov_chain(STATES, length=LENGTH), params_of(jnp.float32)
    pairs = jnp.array([[2.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
    new = family.maximize(params, {}, (jnp.array([1.0, 0.0, 1.0]), pairs))
    np.testing.assert_allclose(np.exp(new["initial"]), [0.5, 0.0, 0.5])
    np.testing.assert_allclose(np.exp(new["transitions"][0]), [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(new["transitions"][1], params["transitions"][1])
    np.testing.assert_allclose(np.exp(new["transitions"][2]), [0.0, 0.25, 0.75], rtol=1e-6)
    assert family.degrees(params) == 2 + 3 * 2


def test_a_chain_with_a_length_ends_there(x64):
    """Its probability is that of its first steps; the others are 0 for sure."""
    family, params = em.markov_chain(STATES, length=LENGTH), params_of(jnp.float64)
    lengths = jnp.array([1, 3, 5])

    @jax.jit
    def ended():
        chain, _ = family.apply(params, {}, lengths)
        each = jax.vmap(chain.log_prob)(jnp.broadcast_to(PATHS[:, None], (len(PATHS), 3, LENGTH)))
        return each, chain.marginals, chain.entropy()

    each, marginals, entropy = ended()
    for i, length in enumerate((1, 3, 5)):
        short, _ = em.markov_chain(STATES, length=length).apply(params, {})
        log_prob, own, nats = jax.jit(
            lambda short=short, n=length: (short.log_prob(jnp.asarray(PATHS[:, :n])), short.marginals, short.entropy())
        )()
        expected = np.where((PATHS[:, length:] == 0).all(1), log_prob, -np.inf)
        np.testing.assert_allclose(each[:, i], expected, rtol=1e-12)
        np.testing.assert_allclose(marginals[i, :length], own, rtol=1e-12)
        np.testing.assert_allclose(entropy[i], nats, rtol=1e-12, atol=1e-13)


@pytest.mark.thorough
def test_emissions_start_and_count_step_by_step(x64):
    """`each_step` of a family is the family on all steps, laid end to end."""
    x = GENERATOR.normal(size=(3, LENGTH, 2))
    z = jnp.asarray(CHAINS[:3])
    inner = em.gaussian(STATES, covariance="diagonal")
    outer = em.each_step(inner)
    (params, state), (flat, _) = (
        jax.jit(family.init)(jax.random.key(0), jnp.asarray(value), parents)
        for family, value, parents in ((outer, x, z), (inner, x.reshape(-1, 2), z.reshape(-1)))
    )
    chex.assert_trees_all_equal(params, flat)
    features = outer.features(state, jnp.asarray(x))
    responsibilities = GENERATOR.dirichlet(np.ones(STATES), size=(3, LENGTH))
    prepared = outer.prepare(params, state)
    found = outer.statistics(prepared, features, jnp.asarray(responsibilities))
    steps = inner.features(state, jnp.asarray(x.reshape(-1, 2)))
    expected = inner.statistics(prepared, steps, jnp.asarray(responsibilities.reshape(-1, STATES)))
    chex.assert_trees_all_close(found, expected, rtol=1e-13)
    log_probs = np.asarray(outer.log_probs(prepared, features))
    np.testing.assert_allclose(log_probs.reshape(-1, STATES), inner.log_probs(prepared, steps), rtol=1e-13)
    chosen = np.take_along_axis(log_probs, np.asarray(z)[:, :, None], axis=2)[:, :, 0]
    distribution, _ = outer.apply(params, state, z)
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(x)), chosen.sum(1), rtol=1e-10)
    # Beyond the end, whatever is there, the first steps stand in.
    lengths = jnp.array([5, 2, 1])
    ended = x.copy()
    ended[1, 2:], ended[2, 1:] = np.nan, 1e9
    stands = np.stack([x[0], x[1][[0, 1, 0, 1, 0]], x[2][[0] * 5]])
    (own, _), (same, _) = (
        jax.jit(outer.init)(jax.random.key(0), jnp.asarray(value), z, *rest)
        for value, rest in ((ended, (lengths,)), (stands, ()))
    )
    chex.assert_trees_all_equal(own, same)
    distribution, _ = outer.apply(params, state, z, lengths)
    inside = np.arange(LENGTH)[None] < np.asarray(lengths)[:, None]
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(x)), (chosen * inside).sum(1), rtol=1e-10)


def test_bad_input():
    for options, message in (
        ({"states": 0, "length": 2}, "states must be an integer ≥ 1, got 0"),
        ({"states": 2, "length": 2.0}, "length must be an integer ≥ 1, got 2.0"),
        ({"states": 2, "length": 2, "stickiness": -1.0}, "stickiness must be a finite number ≥ 0, got -1.0"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            em.markov_chain(**options)
    family, params = em.markov_chain(STATES, length=LENGTH), params_of(jnp.float32)
    with pytest.raises(ValueError, match=r"values must be integers \[examples, 5\], got int32\[2, 4\]"):
        family.features({}, jnp.zeros((2, 4), jnp.int32))
    with pytest.raises(ValueError, match=r"its one parent may be the lengths .* got float32\[2\]"):
        family.apply(params, {}, jnp.ones(2, jnp.float32))
    with pytest.raises(ValueError, match="chains that are observed have no lengths"):
        family.init(jax.random.key(0), jnp.asarray(CHAINS), jnp.full(12, 5))
