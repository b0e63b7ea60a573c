"""Bernoulli mixtures: an independent EM, the floor, soft pixels, images, the prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from em.families.trajectories import check_step, check_turns, plain_em, started, trajectory

from vifx import em

RNG = np.random.default_rng(0)
RATES = np.array([[0.9, 0.8, 0.1, 0.2, 0.5], [0.2, 0.1, 0.7, 0.9, 0.5]])
X = (RNG.random((60, 5)) < RATES[np.arange(60) % 2]).astype(float)


def density(x, rate):
    """``Σ x log π + (1−x) log(1−π)``, with 0 log 0 = 0."""
    return (scipy.special.xlogy(x, rate) + scipy.special.xlog1py(1 - x, -rate)).sum(axis=1)


@pytest.mark.parametrize("pseudo", [(0.0, 0.0), (1.5, 0.5)], ids=["likelihood", "posterior"])
def test_the_turns_are_those_of_an_independent_em(x64, pseudo):
    family = em.bernoulli(2, prior=em.Beta(1 + pseudo[0], 1 + pseudo[1]), floor=1e-9)
    start = started(family, X, 2)
    _, found, params, _, _ = trajectory(family, X, 2, steps=12, start=start, slope=False)
    rates = list(scipy.special.expit(np.asarray(start[0]["components"]["logits"])))
    weights = np.exp(np.asarray(start[0]["weights"]["logits"][0]))
    a, b = pseudo
    expected, weights, rates = plain_em(X, weights, rates, density, lambda x, r, _: (r @ x + a) / (r.sum() + a + b), 12)
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(scipy.special.expit(params["components"]["logits"]), rates, rtol=1e-9)
    np.testing.assert_allclose(np.exp(params["weights"]["logits"][0]), weights, rtol=1e-9)


@pytest.mark.parametrize("prior", [None, em.Beta(2.0, 3.0)], ids=["likelihood", "posterior"])
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, prior):
    soft = np.random.default_rng(3).beta(0.5 + 3 * X, 3.5 - 3 * X).reshape(60, 5, 1, 1)
    params, _ = check_turns(em.bernoulli(2, prior=prior), soft, 2, steps=4000)
    assert params["components"]["logits"].shape == (2, 5, 1, 1)


@pytest.mark.parametrize("prior", [None, em.Beta(2.0, 3.0)], ids=["likelihood", "posterior"])
def test_densities_statistics_and_m_step(x64, prior):
    check_step(em.bernoulli(3, prior=prior), X.reshape(60, 5, 1), 3, kept=None if prior is None else ())


def test_the_prior_is_scipys_beta_up_to_a_constant(x64):
    family = em.bernoulli(2, prior=em.Beta(2.5, 1.5))
    each = [np.random.default_rng(seed).normal(size=(2, 3)) for seed in (1, 2)]
    found = [float(family.log_prior({"logits": jnp.asarray(logits)}, {})) for logits in each]
    expected = [scipy.stats.beta.logpdf(scipy.special.expit(logits), 2.5, 1.5).sum() for logits in each]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floor", [1e-6, 0.0])
def test_pixels_that_are_always_or_never_one(floor, dtype):
    """The floor is the maximum over [floor, 1 − floor]; held-out examples that were impossible stay finite."""
    with jax.enable_x64(dtype == "float64"):
        family = em.bernoulli(1, floor=floor)
        x = jnp.asarray([[1, 0, 1], [1, 0, 0]], dtype)
        params, state = jax.jit(family.init)(jax.random.key(0), x)
        least = floor if floor else float(jnp.finfo(dtype).tiny)
        expected = np.array([[-np.log(least), np.log(least), 0.0]])
        np.testing.assert_allclose(params["logits"], expected, rtol=1e-5, atol=1e-5)
        seen = family.log_probs(family.prepare(params, state), family.features(state, x))
        np.testing.assert_allclose(seen, np.full((2, 1), -np.log(2)), rtol=2e-5)
        other = family.log_probs(family.prepare(params, state), family.features(state, 1 - x))
        np.testing.assert_allclose(other, np.full((2, 1), 2 * np.log(least) - np.log(2)), rtol=1e-5)


def test_infinite_logits_given_by_hand_make_no_nan():
    family = em.bernoulli(1)
    params = {"logits": jnp.asarray([[-jnp.inf, jnp.inf]])}
    features = family.features({}, jnp.asarray([[0.0, 1.0]]))
    np.testing.assert_allclose(family.log_probs(family.prepare(params, {}), features), [[0.0]], atol=1e-5)
    np.testing.assert_allclose(family.apply(params, {})[0].log_prob(jnp.asarray([0.0, 1.0])), 0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[0.0, 255.0]]), r"values must be 0, 1 or between, got 255; divide pixels"),
        (np.array([[0.0, -0.5]]), "got -0.5"),
        (np.array([[0.0, np.inf]]), r"must be finite, got inf at \[0, 1\]"),
    ],
)
def test_values_that_are_no_pixels(value, message):
    family = em.bernoulli(1)
    with pytest.raises(ValueError, match=message):
        em.check_values(family, value)
    with pytest.raises(ValueError, match=message):
        family.init(jax.random.key(0), jnp.asarray(value, jnp.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor": 0.5}, "floor must be below 1/2 for 2 values, got 0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        em.bernoulli(2, **options)
