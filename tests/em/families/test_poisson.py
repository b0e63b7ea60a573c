"""Poisson mixtures: an independent EM, the floor, counts that are none, the prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from em.families.trajectories import check_step, check_turns, plain_em, started, trajectory

from vifx import em

RATES = np.array([[9.0, 1.0, 3.0], [2.0, 4.0, 3.0]])
X = np.random.default_rng(0).poisson(RATES[np.arange(60) % 2])


@pytest.mark.parametrize("pseudo", [(0.0, 0.0), (1.5, 0.5)], ids=["likelihood", "posterior"])
def test_the_turns_are_those_of_an_independent_em(x64, pseudo):
    family = em.poisson(2, prior=em.Gamma(1 + pseudo[0], pseudo[1]))
    start = started(family, X, 2)
    _, found, params, _, _ = trajectory(family, X, 2, steps=12, start=start, slope=False)
    rates = list(np.exp(np.asarray(start[0]["components"]["log_rate"])))
    weights = np.exp(np.asarray(start[0]["weights"]["logits"][0]))
    a, b = pseudo
    expected, _, rates = plain_em(
        X,
        weights,
        rates,
        lambda x, rate: scipy.stats.poisson.logpmf(x, rate).sum(axis=1),
        lambda x, r, _: (r @ x + a) / (r.sum() + b),
        12,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(np.exp(params["components"]["log_rate"]), rates, rtol=1e-9)


@pytest.mark.parametrize("pseudo", [(0.0, 0.0), (1.5, 0.5)], ids=["likelihood", "posterior"])
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, pseudo):
    family = em.poisson(2, prior=em.Gamma(1 + pseudo[0], pseudo[1]))
    check_turns(family, X.reshape(60, 3, 1), 2, steps=2000)


@pytest.mark.parametrize("pseudo", [(0.0, 0.0), (1.5, 0.5)], ids=["likelihood", "posterior"])
def test_densities_statistics_and_m_step(x64, pseudo):
    family = em.poisson(3, prior=em.Gamma(1 + pseudo[0], pseudo[1]))
    check_step(family, X, 3, kept=None if pseudo[1] == 0 else ())


def test_the_prior_is_scipys_gamma_up_to_a_constant(x64):
    family = em.poisson(2, prior=em.Gamma(2.5, 0.5))
    each = [np.random.default_rng(seed).normal(size=(2, 3)) for seed in (1, 2)]
    found = [float(family.log_prior({"log_rate": jnp.asarray(value)}, {})) for value in each]
    expected = [scipy.stats.gamma.logpdf(np.exp(value), 2.5, scale=1 / 0.5).sum() for value in each]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-12)


def test_counts_that_were_never_seen_have_the_floor():
    family = em.poisson(1, floor=1e-4)
    x = jnp.asarray([[3, 0], [1, 0]])
    params, state = jax.jit(family.init)(jax.random.key(0), x)
    np.testing.assert_allclose(np.exp(params["log_rate"]), [[2.0, 1e-4]], rtol=1e-6)
    found = family.log_probs(family.prepare(params, state), family.features(state, jnp.asarray([[2, 1]])))
    expected = scipy.stats.poisson.logpmf([2, 1], [2.0, 1e-4]).sum()
    np.testing.assert_allclose(found, [[expected]], rtol=1e-6)
    # A rate of zero given by hand: 0 log 0 = 0.
    zero = {"log_rate": jnp.asarray([[0.0, -jnp.inf]])}
    found = family.log_probs(family.prepare(zero, state), family.features(state, jnp.asarray([[1, 0], [1, 1]])))
    np.testing.assert_allclose(found[0], [-1.0], rtol=1e-6)
    assert found[1, 0] < -1e20


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1, -2]]), "counts must not be negative, got -2; an integer overflow"),
        (np.array([[1.0, 0.5]]), "counts must be whole numbers, got 0.5"),
        (np.array([[2**24, 1]]), "add up to 16777217, more than 16777216, beyond which float32 loses units"),
        (np.array([[2.0**24, 1.0]], np.float32), "add up to 16777217, more than 16777216"),
        (np.array([[1.0, np.nan]]), "must be finite"),
    ],
)
def test_values_that_are_no_counts(value, message):
    family = em.poisson(1)
    with pytest.raises(ValueError, match=message):
        em.check_values(family, value)


def test_an_overflow_of_integers(x64):
    with pytest.raises(ValueError, match=r"add up to 2147483648, more than 2147483647, beyond which integers overflow"):
        em.check_values(em.poisson(1), np.array([[2**31 - 1, 1]]))
    em.check_values(em.poisson(1), np.array([[2**31 - 2, 1]]))
    assert em.poisson(1).degrees({"log_rate": np.zeros((2, 3))}) == 6


def test_bad_options():
    with pytest.raises(ValueError, match="poisson: floor must be a finite number ≥ 1e-30, got 0"):
        em.poisson(1, floor=0)
