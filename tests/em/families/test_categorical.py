"""Categorical tables and latent classes: shares, priors, impossible classes, values that are no classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from em.families.trajectories import check_step, check_turns, plain_em, started, trajectory

from vifx import em

RNG = np.random.default_rng(0)
TABLE = np.array([[[0.8, 0.1, 0.1]] * 4, [[0.1, 0.2, 0.7]] * 4])
X = np.stack([[RNG.choice(3, p=TABLE[n % 2, i]) for i in range(4)] for n in range(60)])


@pytest.mark.first(1)
@pytest.mark.parametrize("alpha", [1.0, 1.5], ids=["likelihood", "posterior"])
def test_the_turns_of_latent_classes_are_those_of_an_independent_em(x64, alpha):
    family = em.categorical(3, states=2, prior=em.Dirichlet(alpha))
    start = started(family, X, 2)
    _, found, params, _, _ = trajectory(family, X, 2, steps=12, start=start, slope=False)
    hot = np.eye(3)[X]

    def best(x, r, _):
        counts = np.einsum("n,nic->ic", r, hot) + alpha - 1
        return counts / counts.sum(axis=1, keepdims=True)

    tables = list(np.exp(np.asarray(jax.nn.log_softmax(start[0]["components"]["logits"]))))
    weights = np.exp(np.asarray(start[0]["weights"]["logits"][0]))
    expected, _, tables = plain_em(
        X, weights, tables, lambda x, table: np.log(table[np.arange(4), x]).sum(axis=1), best, 12
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(
        np.exp(jax.nn.log_softmax(params["components"]["logits"])), tables, rtol=1e-9, atol=1e-14
    )
    assert family.degrees(params["components"]) == 2 * 4 * 2


@pytest.mark.first(1)
@pytest.mark.parametrize("alpha", [1.0, 1.5], ids=["likelihood", "posterior"])
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, alpha):
    check_turns(em.categorical(3, states=2, prior=em.Dirichlet(alpha)), X, 2, steps=4000)


@pytest.mark.first(1)
@pytest.mark.parametrize("value", [X, X[:, 0], np.eye(3)[X] * 0.7 + 0.1], ids=["vectors", "numbers", "weights"])
@pytest.mark.parametrize("alpha", [1.0, 1.5], ids=["likelihood", "posterior"])
def test_densities_statistics_and_m_step(x64, value, alpha):
    family = em.categorical(3, states=2, prior=em.Dirichlet(alpha))
    check_step(family, value, 2, kept=None if alpha == 1 else ())


def test_the_prior_is_scipys_dirichlet_up_to_a_constant(x64):
    family = em.categorical(3, states=2, prior=em.Dirichlet(2.5))
    each = [np.random.default_rng(seed).dirichlet([1, 1, 1], 2) for seed in (1, 2)]
    found = [float(family.log_prior({"logits": jnp.log(jnp.asarray(shares))}, {})) for shares in each]
    expected = [sum(scipy.stats.dirichlet.logpdf(row, [2.5] * 3) for row in shares) for shares in each]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_impossible_classes(dtype):
    """0 log 0 = 0, and −∞ where a class is impossible; a floor makes it finite."""
    with jax.enable_x64(dtype == "float64"):
        seen, other = jnp.asarray([[0, 1], [0, 1]]), jnp.asarray([[0, 2], [0, 1]])
        for floor, expected in ((0.0, [-np.inf, 0.0]), (1e-3, [np.log(1 - 2e-3) + np.log(1e-3), 2 * np.log(1 - 2e-3)])):
            family = em.categorical(3, states=1, floor=floor)
            params, state = jax.jit(family.init)(jax.random.key(0), seen)
            found = family.log_probs(family.prepare(params, state), family.features(state, other))[:, 0]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        family = em.categorical(3)
        params = {"logits": jnp.log(jnp.asarray([[0.0, 0.25, 0.75]], dtype))}
        weights = jnp.asarray([[0.0, 0.5, 0.5], [0.5, 0.5, 0.0]], dtype)
        found = family.log_probs(family.prepare(params, {}), family.features({}, weights))
        np.testing.assert_allclose(found[:, 0], [0.5 * np.log(0.25 * 0.75), -np.inf], rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([0, 3]), "values must be integers 0 to 2, got 3; set classes= accordingly"),
        (np.array([0, -1]), "values must be integers 0 to 2, got -1"),
        (np.array([[1, 0, 0], [0, 0, 1]]), "all one-hot are read as 3 variables"),
        (np.array([[1.0, 1.0, 0.0]]), "sum to one, got a sum of 2"),
        (np.array([[0.5, 0.2, 0.2]]), "sum to one, got a sum of 0.9"),
        (np.array([[1.5, -0.5, 0.0]]), "sum to one, got a weight of -0.5"),
        (np.array([[np.nan, 1.0, 0.0]]), "must be finite"),
    ],
)
def test_values_that_are_no_classes(value, message):
    with pytest.raises(ValueError, match=message):
        em.check_values(em.categorical(3, states=2), value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (jnp.zeros((4, 2)), r"weights must have a last axis of 3 classes, got float32\[4, 2\]"),
        (jnp.zeros(4), r"must be integers \[examples\] or \[examples, variables\].* got float32\[4\]"),
        (jnp.zeros((4, 2), bool), r"got bool\[4, 2\]"),
    ],
)
def test_values_of_another_shape(value, message):
    with pytest.raises(ValueError, match=message):
        em.categorical(3).features({}, value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor": 0.34}, "floor must be below 1/3 for 3 values, got 0.34"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        em.categorical(3, **options)
