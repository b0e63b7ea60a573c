"""Multinomial mixtures: an independent EM, the floor against a numerical optimum, the coefficient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from em.families.trajectories import check_step, check_turns, plain_em, started, trajectory

from vifx import em
from vifx.em.families.zero_probabilities import best_shares

SHARES = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
X = np.stack([np.random.default_rng(n).multinomial(5 + n % 3, SHARES[n % 2]) for n in range(60)])


@pytest.mark.first(1)
@pytest.mark.parametrize("pseudo", [0.0, 0.5], ids=["likelihood", "posterior"])
def test_the_turns_are_those_of_an_independent_em(x64, pseudo):
    family = em.multinomial(2, prior=em.Dirichlet(1 + pseudo))
    start = started(family, X, 2)
    _, found, params, _, _ = trajectory(family, X, 2, steps=12, start=start, slope=False)
    shares = list(np.exp(np.asarray(jax.nn.log_softmax(start[0]["components"]["logits"]))))
    weights = np.exp(np.asarray(start[0]["weights"]["logits"][0]))

    def best(x, r, _):
        counts = r @ x + pseudo
        return counts / counts.sum()

    expected, _, shares = plain_em(
        X, weights, shares, lambda x, share: scipy.stats.multinomial.logpmf(x, x.sum(axis=1), share), best, 12
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(np.exp(jax.nn.log_softmax(params["components"]["logits"])), shares, rtol=1e-8)
    assert family.degrees(params["components"]) == 6


@pytest.mark.first(1)
@pytest.mark.parametrize("pseudo", [0.0, 0.5], ids=["likelihood", "posterior"])
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, pseudo):
    check_turns(em.multinomial(2, prior=em.Dirichlet(1 + pseudo)), X, 2, steps=3000)


@pytest.mark.parametrize("pseudo", [0.0, 0.5], ids=["likelihood", "posterior"])
def test_densities_statistics_and_m_step(x64, pseudo):
    check_step(em.multinomial(2, prior=em.Dirichlet(1 + pseudo)), X, 2, kept=None if pseudo == 0 else ())


def test_the_prior_is_scipys_dirichlet_up_to_a_constant(x64):
    family = em.multinomial(2, prior=em.Dirichlet(2.5))
    each = [np.random.default_rng(seed).dirichlet([1, 1, 1], 2) for seed in (1, 2)]
    found = [float(family.log_prior({"logits": jnp.log(jnp.asarray(shares))}, {})) for shares in each]
    expected = [sum(scipy.stats.dirichlet.logpdf(row, [2.5] * 3) for row in shares) for shares in each]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-12)


@pytest.mark.parametrize(
    "counts", [[5.0, 3.0, 0.0, 0.0], [5.0, 0.2, 0.3, 4.0], [1.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]]
)
def test_the_best_shares_above_a_floor(x64, counts):
    """Against a numerical optimum of ``Σ n log π`` over the simplex with ``π ≥ 0.08``."""
    floor, counts = 0.08, np.array(counts)
    found = np.exp(best_shares(jnp.asarray(counts), floor, jnp.zeros(4)))
    optimum = scipy.optimize.minimize(
        lambda shares: -(counts @ np.log(shares)),
        np.full(4, 0.25),
        jac=lambda shares: -counts / shares,
        bounds=[(floor, 1)] * 4,
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1, "jac": lambda _: np.ones(4)},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(found, optimum.x, atol=1e-6)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)


def test_values_that_were_never_seen():
    x, other = jnp.asarray([[3, 1, 0]]), jnp.asarray([[1, 0, 1]])
    for floor, expected in ((0.0, -np.inf), (1e-4, np.log(2) + np.log(0.75 * (1 - 1e-4)) + np.log(1e-4))):
        family = em.multinomial(1, floor=floor)
        params, state = jax.jit(family.init)(jax.random.key(0), x)
        found = family.log_probs(family.prepare(params, state), family.features(state, other))
        np.testing.assert_allclose(found, [[expected]], rtol=1e-5)


def test_values_that_are_no_counts():
    family = em.multinomial(2)
    with pytest.raises(ValueError, match=r"multinomial: counts must be whole numbers, got 0\.25; give counts, not sha"):
        em.check_values(family, np.array([[0.25, 0.75]]))
    with pytest.raises(ValueError, match=r"must be counts \[examples, values\], got shape \[3\]"):
        family.features({}, jnp.zeros(3))
    with pytest.raises(ValueError, match=r"floor must be below 1/2 for 2 values, got 0\.5"):
        em.multinomial(2, floor=0.5).init(jax.random.key(0), jnp.ones((3, 2)))


def test_it_is_sampled_with_trials(x64):
    family = em.multinomial(2, trials=7)
    params = {"logits": jnp.log(jnp.asarray(SHARES))}
    draws = family.apply(params, {}, jnp.asarray([0, 1]))[0].sample(jax.random.key(0), (3,))
    np.testing.assert_array_equal(draws.sum(axis=-1), np.full((3, 2), 7))
    with pytest.raises(ValueError, match="trials must be an integer ≥ 1, got 0"):
        em.multinomial(2, trials=0)
