"""What is known up to each step, and what comes after the last: against shorter and longer models, and by counting."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import em

SEQUENCES, LENGTH, STEPS = 3, 5, 3
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(SEQUENCES, LENGTH, 2))
MASK = np.array([[1, 1, 0, 1, 1], [1, 0, 0, 1, 0], [0, 1, 1, 1, 1]], bool)


def hmm(length):
    return em.hmm(em.gaussian, 3, length=length, covariance="diagonal")


def lds(length):
    return em.lds(2, length=length, given=("mask",))


def random_params(model, x):
    params, state = jax.jit(model.objective.init)(jax.random.key(0), model.batch(x))
    noise = np.random.default_rng(1)

    def moved(path, leaf):
        change = 0.3 * noise.normal(size=leaf.shape)
        own = path[-1].key
        return leaf + (np.tril(change) if "tril" in own else np.abs(change) if own == "scale" else change)

    return jax.tree_util.tree_map_with_path(moved, params), state


@pytest.mark.thorough
def test_states_up_to_each_step_are_the_posterior_of_what_was_seen_by_then(x64):
    params, state = random_params(hmm(LENGTH), X)
    found = em.filtered(hmm(LENGTH), params, state, X)
    transitions = np.asarray(jax.nn.softmax(params["chain"]["transitions"]))
    for t in (1, LENGTH - 1, LENGTH):
        posterior = hmm(t).posterior(params, state, X[:, :t])
        np.testing.assert_allclose(found.current.probs[:, t - 1], posterior.marginals[:, -1], rtol=1e-10)
        total = np.sum(np.asarray(found.log_probs)[:, :t], axis=1)
        np.testing.assert_allclose(total, hmm(t).log_prob(params, state, X[:, :t]), rtol=1e-11)
    ahead = np.asarray(found.current.probs)[:, :-1] @ transitions
    np.testing.assert_allclose(found.predicted.probs[:, 1:], ahead, rtol=1e-10)


@pytest.mark.thorough
def test_vectors_up_to_each_step_are_the_posterior_of_what_was_seen_by_then(x64):
    data = {"x": X, "mask": MASK}
    params, state = random_params(lds(LENGTH), data)
    found = em.filtered(lds(LENGTH), params, state, data)
    for t in (2, LENGTH):
        short = {"x": X[:, :t], "mask": MASK[:, :t]}
        posterior = lds(t).posterior(params, state, short)
        np.testing.assert_allclose(found.current.loc[:, t - 1], posterior.means[:, -1], rtol=1e-9)
        covariance = found.current.covariance_matrix[:, t - 1]
        np.testing.assert_allclose(covariance, posterior.covariances[:, -1], rtol=1e-9)
        total = np.sum(np.asarray(found.log_probs)[:, :t], axis=1)
        np.testing.assert_allclose(total, lds(t).log_prob(params, state, short), rtol=1e-11)


@pytest.mark.thorough
def test_states_to_come_are_as_often_as_the_chain_says(x64):
    params, state = random_params(hmm(LENGTH), X)
    drawn = em.forecast(jax.random.key(3), hmm(LENGTH), params, state, X, steps=STEPS, samples=20_000)
    assert drawn["z"].shape == (20_000, SEQUENCES, STEPS)
    transitions = np.asarray(jax.nn.softmax(params["chain"]["transitions"]))
    now = np.asarray(em.filtered(hmm(LENGTH), params, state, X).current.probs)[:, -1]
    means = np.asarray(params["emissions"]["mean"])
    for step in range(STEPS):
        now = now @ transitions
        share = np.stack([np.mean(np.asarray(drawn["z"])[:, :, step] == k, axis=0) for k in range(3)], axis=1)
        np.testing.assert_allclose(share, now, atol=0.02)
        found = np.mean(np.asarray(drawn["x"])[:, :, step], axis=0)
        np.testing.assert_allclose(found, now @ means, atol=0.05)
    start = np.array([2, 0, 1])
    drawn = em.forecast(jax.random.key(4), hmm(LENGTH), params, state, X, steps=1, samples=20_000, latent=start)
    share = np.stack([np.mean(np.asarray(drawn["z"])[:, :, 0] == k, axis=0) for k in range(3)], axis=1)
    np.testing.assert_allclose(share, transitions[start], atol=0.02)


@pytest.mark.thorough
def test_vectors_to_come_are_the_posterior_of_a_longer_sequence_that_is_not_seen(x64):
    data = {"x": X, "mask": MASK}
    params, state = random_params(lds(LENGTH), data)
    drawn = em.forecast(jax.random.key(3), lds(LENGTH), params, state, data, steps=STEPS, samples=40_000)
    pad = lambda array: np.concatenate([array, np.zeros_like(array[:, :STEPS])], axis=1)  # noqa: E731
    longer = lds(LENGTH + STEPS).posterior(params, state, {"x": pad(X), "mask": pad(MASK)})
    means, spread = np.asarray(longer.means)[:, LENGTH:], np.asarray(longer.covariances)[:, LENGTH:]
    error = 6 * np.sqrt(np.einsum("ntii->nti", spread) / 40_000)
    assert np.all(np.abs(np.mean(np.asarray(drawn["z"]), axis=0) - means) < error)
    apart = np.asarray(drawn["z"]) - np.mean(np.asarray(drawn["z"]), axis=0)
    found = np.einsum("snti,sntj->ntij", apart, apart) / 40_000
    np.testing.assert_allclose(found, spread, rtol=0.06, atol=0.02)
    # An interval of what is seen has its probability: the emission adds its noise.
    loadings, scale = np.asarray(params["emissions"]["loadings"]), np.asarray(params["emissions"]["scale"])
    variance = np.einsum("di,ntij,dj->ntd", loadings, spread, loadings) + scale**2
    low, high = np.quantile(np.asarray(drawn["x"]), [0.05, 0.95], axis=0)
    np.testing.assert_allclose(high - low, 2 * 1.6449 * np.sqrt(variance), rtol=0.05)


@pytest.mark.thorough
def test_each_sequence_goes_on_from_its_own_end(x64):
    lengths = np.array([5, 2, 4])
    model = em.lds(2, length=LENGTH, given=("lengths",))
    data = {"x": X, "lengths": lengths}
    params, state = random_params(model, data)
    drawn = em.forecast(jax.random.key(0), model, params, state, data, steps=1, samples=20_000)
    for n, length in enumerate(lengths):
        alone = em.lds(2, length=int(length)).posterior(params, state, X[n : n + 1, :length])
        mean = params["chain"]["transitions"] @ alone.means[0, -1] + params["chain"]["offset"]
        found = np.mean(np.asarray(drawn["z"])[:, n, 0], axis=0)
        spread = np.std(np.asarray(drawn["z"])[:, n, 0], axis=0)
        assert np.all(np.abs(found - mean) < 6 * spread / np.sqrt(20_000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: em.filtered(em.mixture(em.gaussian, 2), {}, {}, X[:, 0]), "must be one of sequences"),
        (
            lambda: em.forecast(
                jax.random.key(0),
                em.lds(2, length=5, given=("inputs",)),
                {},
                {},
                {"x": X, "inputs": X},
                steps=1,
            ),
            "is moved by 'inputs', whose future is not known",
        ),
        (
            lambda: em.forecast(jax.random.key(0), hmm(5), {}, {}, X, steps=1, latent=jnp.zeros(2, int)),
            "one state for each of the 3 sequences",
        ),
        (
            lambda: em.forecast(jax.random.key(0), hmm(5), {}, {}, X, steps=1, latent=np.array([0, 1, 3])),
            "latent must be integers from 0 to 2, got int64 from 0 to 3",
        ),
        (
            lambda: em.forecast(jax.random.key(0), hmm(5), {}, {}, X, steps=1, latent=np.array([0.0, 1.0, 0.5])),
            "latent must be integers from 0 to 2, got float64",
        ),
        (lambda: em.forecast(jax.random.key(0), hmm(5), {}, {}, X, steps=0), "steps must be"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
