"""Exact values: normals, finite distributions with zeros, quadrature, and the toy optima of f-GAN."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from divergences import cases

from vifx import divergences

NORMALS = [d for d in (*cases.TABLE, *cases.SOME) if d.normal_value is not None]
PAIRS = [
    (0.0, 1.0, 0.0, 1.0),
    (0.7, 1.0, -0.4, 1.0),
    (0.3, 0.9, -0.5, 1.1),
    (-1.0, 1.2, 0.2, 0.95),
    (0.0, 0.9, 0.0, 1.2),
]


def log_normal(loc, scale):
    return lambda x: -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi)


@pytest.mark.first(1)
@pytest.mark.parametrize("divergence", NORMALS, ids=cases.name)
def test_normals_are_the_quadrature(x64, divergence):
    grid = jnp.linspace(-30.0, 30.0, 8001)

    @jax.jit
    def integral(parameters):
        log_p, log_q = log_normal(*parameters[:2]), log_normal(*parameters[2:])
        return divergences.by_quadrature(divergence, log_p, log_q, grid)

    @jax.jit
    def closed(parameters):
        return divergences.between_normals(divergence, *parameters)

    by_integral, in_closed_form = jax.jit(jax.grad(integral)), jax.jit(jax.grad(closed))

    for pair in PAIRS:
        parameters = jnp.array(pair)
        if not np.isfinite(closed(parameters)):
            assert integral(parameters) > 1e6
            continue
        kinks = "total_variation" in divergence.name  # the trapezoidal rule sees them
        np.testing.assert_allclose(closed(parameters), integral(parameters), rtol=1e-10, atol=3e-5 if kinks else 1e-12)
        if pair != PAIRS[0]:
            gradient = by_integral(parameters)
            np.testing.assert_allclose(in_closed_form(parameters), gradient, atol=1e-3 if kinks else 1e-9)
        else:
            np.testing.assert_allclose(in_closed_form(parameters), 0.0, atol=1e-15)


def test_normals_broadcast_and_diverge_without_nan():
    loc = jnp.array([[0.0], [1.0]])
    value, slopes = jax.vmap(
        jax.value_and_grad(
            lambda s: divergences.between_normals(divergences.pearson, jnp.zeros(()), s, jnp.zeros(()), jnp.ones(()))
        )
    )(jnp.array([0.5, 1.4, 1.5, 3.0]))
    assert list(np.isinf(value)) == [False, False, True, True]
    assert np.all(np.isfinite(slopes))
    one = jnp.ones((1, 3))
    kl = divergences.between_normals(divergences.kl, loc, one, jnp.zeros((1, 1)), one)
    np.testing.assert_allclose(kl, [[0.0] * 3, [0.5] * 3])


def test_a_divergence_without_a_closed_form_says_which_have_one():
    one = jnp.ones(())
    with pytest.raises(ValueError, match=r"jensen_shannon has none .*squared_hellinger.* use by_quadrature"):
        divergences.between_normals(divergences.jensen_shannon, one, one, one, one)
    both = divergences.mixture([1.0, 1.0], [divergences.kl, divergences.gan])
    with pytest.raises(ValueError, match="kl \\+ gan has none"):
        divergences.between_normals(both, one, one, one, one)


@pytest.mark.first(1)
@pytest.mark.parametrize("divergence", cases.CASES, ids=cases.name)
def test_states_of_probability_zero(x64, divergence):
    """Missed mass costs f′(∞), invented mass f(0), and a state that neither has costs nothing."""
    prob_p, prob_q = np.array([0.5, 0.3, 0.2, 0.0, 0.0]), np.array([0.3, 0.3, 0.0, 0.4, 0.0])
    with np.errstate(divide="ignore"):
        log_p, log_q = jnp.asarray(np.log(prob_p)), jnp.asarray(np.log(prob_q))
    seen = 0.3 * float(divergence.generator(jnp.asarray(5 / 3))) + 0.3 * divergence.at_equality
    expected = seen + 0.2 * divergence.at_infinity + 0.4 * divergence.at_zero
    value, slopes = jax.value_and_grad(divergences.between_categoricals, argnums=(1, 2))(divergence, log_p, log_q)
    np.testing.assert_allclose(value, expected, rtol=1e-7, atol=1e-12)
    assert np.all(np.isfinite(slopes))
    # by the limit of small probabilities, where it is finite
    if math.isfinite(expected):
        small = 1e-13
        near = cases.definition(divergence, np.log(np.maximum(prob_p, small)), np.log(np.maximum(prob_q, small)))
        assert abs(near - expected) < 2e-2


@pytest.mark.first(2)
@pytest.mark.parametrize("name", divergences.NAMES)
def test_far_ratios_do_not_overflow(name):
    """Single precision, at ratios whose square has no float."""
    log_p, log_q = jnp.log(jnp.array([[1e-30, 1.0], [1.0, 1e-30]])), jnp.log(jnp.array([[1.0, 1e-30], [0.5, 0.5]]))
    value, slopes = jax.value_and_grad(
        lambda *pair: jnp.sum(divergences.between_categoricals(divergences.named(name), *pair)), argnums=(0, 1)
    )(log_p, log_q)
    assert np.isfinite(value)
    assert np.all(np.isfinite(slopes))


MIXTURE = ((1 / 3, -1.0, 0.25), (2 / 3, 2.0, math.sqrt(2)))  # weight, mean, standard deviation
GOLDENS = {
    "kl": (1.0, 1.8314, 0.2921),
    "reverse_kl": (1.5810, 1.6302, 0.2544),
    "jensen_shannon": (1.3056, 1.7542, 0.1316 / 2),
    "jeffreys": (1.3188, 1.7029, 0.5876),
    "pearson": (0.5540, 1.9261, 0.6716),
}


def log_mixture(x):
    terms = [math.log(weight) + log_normal(loc, scale)(x) for weight, loc, scale in MIXTURE]
    return jnp.logaddexp(*terms)


@pytest.mark.thorough
@pytest.mark.parametrize("name", GOLDENS)
def test_the_toy_optima_of_f_gan(x64, name):
    grid = jnp.linspace(-20.0, 25.0, 2001)
    divergence = divergences.named(name)
    loc, scale, value = GOLDENS[name]
    found = divergences.nearest_normal(divergence, log_mixture, grid)
    assert abs(found.loc - loc) < 1e-4
    assert abs(found.scale - scale) < 1e-4
    assert abs(found.value - value) < 1e-4

    def distance(parameters):
        return divergences.by_quadrature(divergence, log_mixture, log_normal(parameters[0], parameters[1]), grid)

    best, value_at = np.array([found.loc, found.scale]), jax.jit(distance)
    assert np.max(np.abs(jax.jit(jax.grad(distance))(best))) < 1e-10
    for step in np.array([[1e-2, 0], [-1e-2, 0], [0, 1e-2], [0, -1e-2]]):
        assert value_at(best + step) > found.value


@pytest.mark.thorough
def test_kl_matches_the_moments_of_the_mixture(x64):
    found = divergences.nearest_normal(divergences.kl, log_mixture, jnp.linspace(-20.0, 25.0, 2001))
    mean = sum(w * m for w, m, _ in MIXTURE)
    variance = sum(w * (s**2 + m**2) for w, m, s in MIXTURE) - mean**2
    np.testing.assert_allclose([found.loc, found.scale], [mean, math.sqrt(variance)], rtol=1e-12)
