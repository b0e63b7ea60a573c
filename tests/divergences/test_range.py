"""No form overflows or loses its gradient: single precision at |ℓ| = 80 and beyond."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from divergences import cases

from vifx import divergences
from vifx.divergences.numerics import log_wright_omega, within_range

EXTREMES = np.concatenate([np.linspace(-80, 80, 321), [-1000.0, -200.0, 200.0, 1000.0]]).astype(np.float32)
CLOSE = [
    *map(divergences.alpha, (-1e4, -30.0, -1e-3, 1e-12, 1e-3, 0.999, 1 - 1e-9, 1.001, 40.0, 1e4)),
    *map(divergences.skew_jensen_shannon, (1e-6, 1 - 1e-6)),
]
HEAVY = [
    divergences.mixture([1e3, 1.0], [divergences.pearson, divergences.kl]),
    divergences.mixture([1e10, 1.0], [divergences.neyman, divergences.kl]),
    divergences.swapped(divergences.mixture([1e3, 1.0], [divergences.pearson, divergences.reverse_kl])),
    divergences.mixture([2.0, 1.0], [divergences.neyman, divergences.gan]),
]
every = pytest.mark.parametrize("divergence", [*cases.CASES, *CLOSE, *HEAVY], ids=cases.name)


def forms(divergence):
    both = (divergence.critic_value, divergence.conjugate_value, divergence.activation, divergence.activated_conjugate)
    return [form for form in both if form is not None]


@pytest.mark.first(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every
def test_finite_in_value_and_gradient(divergence, dtype):
    """For any ℓ and v, to the largest numbers of the type."""
    with jax.enable_x64(dtype == "float64"):
        largest = float(np.finfo(dtype).max)
        far = np.append(np.logspace(2, np.log10(largest / 1.01), 40), [0.5 * largest, 0.6 * largest, largest])
        ratio = jnp.asarray(np.concatenate([EXTREMES, far, -far]), dtype)
        for form in forms(divergence):
            value, slope = jax.jit(lambda ratio, form=form: (form(ratio), cases.slope(form)(ratio)))(ratio)
            assert value.dtype == jnp.dtype(dtype)
            assert np.all(np.isfinite(value))
            assert np.all(np.isfinite(slope))


@pytest.mark.first(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every
def test_generators_are_defined_for_every_ratio(divergence, dtype):
    """Never NaN, infinite only where f or f′ exceeds the type, and ``f′ = T(log u)`` in between."""
    if divergence.name == "entropy":
        return  # a generator that was given, of which nothing is asked at 0
    with jax.enable_x64(dtype == "float64"):
        kind = np.finfo(dtype)
        u = jnp.asarray(
            np.append(np.logspace(*np.log10([float(kind.tiny), float(kind.max) / 1.01]), 121), [0.0, 1e-310]),
            dtype,
        )
        value, slope = jax.jit(lambda u: (divergence.generator(u), cases.slope(divergence.generator)(u)))(u)
        assert not np.any(np.isnan(value))
        assert not np.any(np.isnan(slope))
        ratio = jnp.log(u)
        expected = np.asarray(divergence.critic_value(ratio), np.float64)
    inside = (np.abs(np.asarray(ratio)) < 25) & (np.abs(slope) < 1e20)
    np.testing.assert_allclose(np.asarray(slope)[inside], expected[inside], rtol=1e-4, atol=1e-5)


@pytest.mark.first(1)
@every
def test_a_mean_over_a_batch_is_finite(divergence):
    for end in (-80.0, 80.0):
        for form in forms(divergence):
            value, slope = jax.value_and_grad(lambda ratio, form=form: jnp.mean(form(ratio)))(jnp.full(256, end))
            assert np.isfinite(value)
            assert np.all(np.isfinite(slope))


@pytest.mark.first(4)
@pytest.mark.parametrize("divergence", cases.TABLE, ids=cases.name)
def test_exact_where_the_exponentials_are_representable(divergence):
    """Against double precision, where nothing is continued before 700."""
    for form in forms(divergence):
        single = np.asarray(form(jnp.asarray(EXTREMES)))
        with jax.enable_x64(True):
            double = np.asarray(form(jnp.asarray(EXTREMES, jnp.float64)))
        # what reaches e^79 is continued, unless it is representable, and nothing else is
        compared = (np.abs(double) < np.exp(71)) & (np.abs(EXTREMES) <= 80) & steep(divergence)
        assert np.sum(compared) > 100
        np.testing.assert_allclose(single[compared], double[compared], rtol=2e-5, atol=2e-6)


def steep(divergence):
    """Where every exponential of the row, of which T and f* have different ones, is below e^79."""
    with jax.enable_x64(True):
        sizes = [np.abs(np.asarray(form(jnp.asarray(EXTREMES, jnp.float64)))) for form in forms(divergence)]
    ratio, activation = np.maximum(*sizes[:2]), np.maximum(*sizes[2:])
    return np.maximum(ratio, activation) < np.exp(71)


def test_kl_is_exact_at_eighty():
    end = jnp.asarray(80.0)
    np.testing.assert_allclose(divergences.kl.conjugate_value(end), np.exp(80.0), rtol=1e-6)
    np.testing.assert_allclose(divergences.reverse_kl.critic_value(-end), -np.exp(80.0), rtol=1e-6)
    np.testing.assert_allclose(divergences.pearson.conjugate_value(end / 2), np.exp(80.0), rtol=1e-5)


@pytest.mark.first(1)
@pytest.mark.parametrize("divergence", cases.SMOOTH, ids=cases.name)
def test_monotone_with_a_slope_as_long_as_the_truth_has_one(divergence):
    """The continued exponentials rise, and their gradient does not vanish."""
    with jax.enable_x64(True):
        ratio = jnp.linspace(-1000.0, 1000.0, 4001)
        values = [form(ratio) for form in (divergence.critic_value, divergence.conjugate_value)]
        assert all(np.all(np.diff(value) >= 0) for value in values)
    large = jnp.array([75.0, 80.0, 85.0, 120.0, 160.0])
    slopes = [cases.slope(divergence.conjugate_value)(large), cases.slope(divergence.critic_value)(-large)]
    with jax.enable_x64(True):
        wide = jnp.asarray(large, jnp.float64)
        truths = [cases.slope(divergence.conjugate_value)(wide), cases.slope(divergence.critic_value)(-wide)]
    for slope, truth in zip(slopes, truths, strict=True):
        assert np.all(np.asarray(slope)[np.asarray(truth) > 1e-30] > 0)


def test_generators_keep_their_digits_at_large_ratios(x64):
    """Where the terms of the textbook formulas cancel: the limits are ``u f′(∞)`` plus a logarithm."""
    u = jnp.asarray([1e8, 1e12, 1e15])
    np.testing.assert_allclose(divergences.gan.generator(u), -1 - np.log(np.asarray(u)), rtol=1e-7)
    expected = 0.5 * (np.log(2) * (1 + np.asarray(u)) - 1 - np.log(np.asarray(u)))
    np.testing.assert_allclose(divergences.jensen_shannon.generator(u), expected, rtol=1e-7)
    np.testing.assert_allclose(divergences.alpha(0.5).generator(jnp.asarray(1e-310)), 2.0, rtol=1e-12)


@pytest.mark.parametrize("value", [1e-13, -1e-13, 1 + 1e-13, 1 - 1e-13, 1e7, -1e7])
def test_alphas_without_a_value_of_their_own_are_refused(value):
    with pytest.raises(ValueError, match=r"divergences\.(reverse_)?kl|in \[-1e\+06, 1e\+06\]"):
        divergences.alpha(value)


@pytest.mark.first(2)
@pytest.mark.parametrize("divergence", cases.SMOOTH, ids=cases.name)
def test_beyond_the_range_it_is_still_a_lower_bound(divergence):
    """T and f*(T) belong to one t: Fenchel–Young holds with equality however large ℓ is."""
    ratio = np.array([-160.0, -100.0, -80.0, 80.0, 100.0, 160.0])
    single = [np.asarray(form(jnp.asarray(ratio, jnp.float32)), np.float64) for form in forms(divergence)]
    for t, conjugate in ((single[0], single[1]), (single[2], single[3])):
        with jax.enable_x64(True):
            truth = np.asarray(divergence.conjugate(jnp.asarray(t)))
        near_edge = ~np.isfinite(truth) | (
            np.abs(t[:, None] - np.array(divergence.domain)) < 1e-4 * (1 + np.abs(t[:, None]))
        ).any(-1)
        np.testing.assert_allclose(conjugate[~near_edge], truth[~near_edge], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [0.01, 0.5, 1.0, 2.0, 7.0])
def test_the_continuation_is_smooth(x64, factor):
    edge = (np.log(np.finfo(np.float64).max) - 8 - max(np.log(factor), 0)) / factor
    for side, both in ((1, {"rise": factor}), (-1, {"fall": factor})):
        near = side * (edge + jnp.array([-1e-6, 0.0, 1e-6]))
        np.testing.assert_allclose(within_range(near, **both), near, rtol=1e-12)
        np.testing.assert_allclose(cases.slope(lambda x, both=both: within_range(x, **both))(near), 1.0, rtol=1e-4)
        far = side * (edge + 5.0)
        expected = side * (edge + np.log1p(np.log1p(factor * 5)) / factor)
        np.testing.assert_allclose(within_range(jnp.asarray(far), **both), expected, rtol=1e-14)
        assert within_range(jnp.asarray(-far), **both) == -far


def test_jeffreys_conjugate_for_every_argument():
    t = jnp.linspace(-1e4, 80.0, 2001)
    with jax.enable_x64(True):
        exact = np.asarray(divergences.jeffreys.conjugate(jnp.asarray(t, jnp.float64)))
        ratio = -log_wright_omega(1 - jnp.asarray(t, jnp.float64))
        slope = np.asarray(jnp.exp(ratio))  # ∂f* = u
    np.testing.assert_allclose(divergences.jeffreys.conjugate(t), exact, rtol=1e-4)
    np.testing.assert_allclose(cases.slope(divergences.jeffreys.conjugate)(t), slope, rtol=1e-4)
