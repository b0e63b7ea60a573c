"""Every row: f, T, f*, both parametrizations and their bound, in double precision."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from divergences import cases

from vifx import divergences
from vifx.divergences.numerics import log_wright_omega

RATIO = np.linspace(-6, 6, 49)
each = pytest.mark.parametrize("divergence", cases.TABLE, ids=cases.name)
every = pytest.mark.parametrize("divergence", cases.CASES, ids=cases.name)

FORMULAS = {
    "total_variation": lambda p, q: 0.5 * np.abs(p - q),
    "kl": lambda p, q: p * np.log(p / q),
    "reverse_kl": lambda p, q: q * np.log(q / p),
    "pearson": lambda p, q: (p - q) ** 2 / q,
    "neyman": lambda p, q: (p - q) ** 2 / p,
    "squared_hellinger": lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2,
    "jeffreys": lambda p, q: (p - q) * np.log(p / q),
    "jensen_shannon": lambda p, q: 0.5 * p * np.log(2 * p / (p + q)) + 0.5 * q * np.log(2 * q / (p + q)),
    "gan": lambda p, q: p * np.log(p / (p + q)) + q * np.log(q / (p + q)),
    **{
        f"alpha({a})": lambda p, q, a=a: (p**a * q ** (1 - a) - a * p - (1 - a) * q) / (a * (a - 1))
        for a in (-2.5, -1.0, -0.3, 0.5, 0.8, 1.5, 2.0, 3.0)
    },
    **{
        f"skew_jensen_shannon({w})": lambda p, q, w=w: (
            w * p * np.log(p / (w * p + (1 - w) * q)) + (1 - w) * q * np.log(q / (w * p + (1 - w) * q))
        )
        for w in (0.05, 0.5, 0.9)
    },
}


@each
def test_the_generator_is_the_formula(x64, divergence):
    log_p, log_q = cases.pairs()
    expected = FORMULAS[divergence.name](np.exp(np.asarray(log_p)), np.exp(np.asarray(log_q))).sum(-1)
    np.testing.assert_allclose(divergences.between_categoricals(divergence, log_p, log_q), expected, atol=1e-12)
    np.testing.assert_allclose(cases.definition(divergence, log_p, log_q), expected, atol=1e-12)


@pytest.mark.first(1)
@every
def test_the_generator_is_convex_and_known_at_one(x64, divergence):
    u = jnp.exp(jnp.asarray(RATIO))
    value = np.asarray(divergence.generator(u))
    secants = np.diff(value) / np.diff(np.asarray(u))
    assert np.all(np.diff(secants) >= -1e-9)
    assert abs(float(divergence.generator(jnp.ones(()))) - divergence.at_equality) < 1e-14
    assert divergence.at_equality == pytest.approx(-2 * math.log(2) if "gan" in divergence.name else 0.0)


@pytest.mark.first(4)
@every
def test_critic_and_conjugate_value_are_autodiff_of_the_generator(x64, divergence):
    ratio = jnp.asarray(RATIO + 0.03)  # not where total variation has its kink
    u = jnp.exp(ratio)
    expected = cases.slope(divergence.generator)(u)
    np.testing.assert_allclose(divergence.critic_value(ratio), expected, rtol=1e-9, atol=1e-12)
    conjugate = u * expected - divergence.generator(u)
    np.testing.assert_allclose(divergence.conjugate_value(ratio), conjugate, rtol=1e-9, atol=2e-10)
    # df*(T) = u dT, by value and by gradient
    slopes = [cases.slope(form)(ratio) for form in (divergence.critic_value, divergence.conjugate_value)]
    np.testing.assert_allclose(slopes[1], u * slopes[0], rtol=1e-9, atol=1e-9)


@each
def test_fenchel_young(x64, divergence):
    ratio = jnp.asarray(RATIO)
    u, t = jnp.exp(ratio), divergence.critic_value(ratio)
    conjugate = divergence.conjugate(t)
    np.testing.assert_allclose(divergence.conjugate_value(ratio), conjugate, rtol=1e-10, atol=1e-10)
    gap = divergence.generator(u)[:, None] + conjugate[None, :] - u[:, None] * t[None, :]
    assert np.min(gap / (1 + np.abs(u[:, None] * t[None, :]))) >= -1e-10
    assert np.max(np.abs(np.diagonal(gap)) / (1 + np.abs(u * t))) <= 1e-10


@pytest.mark.first(2)
@each
def test_the_conjugate_is_the_supremum(x64, divergence):
    u = np.exp(np.linspace(-6, 6, 40_001))
    value = np.asarray(divergence.generator(jnp.asarray(u)))
    for t in np.asarray(divergence.critic_value(jnp.array([-3.0, -0.7, 0.4, 2.0]))):
        supremum = np.max(u * t - value)
        conjugate = float(divergence.conjugate(jnp.asarray(t)))
        assert supremum - 1e-12 * (1 + abs(supremum)) <= conjugate <= supremum + 3e-7 * (1 + abs(supremum))


@pytest.mark.first(2)
@each
def test_the_conjugate_outside_of_the_range_of_the_slope(x64, divergence):
    low, high = divergence.domain
    if math.isfinite(low):  # the supremum is at u = 0
        below = jnp.array([low - 3.0, low - 1e-9])
        np.testing.assert_allclose(divergence.conjugate(below), -divergence.at_zero, atol=1e-8)
    if math.isfinite(high):
        above = jnp.array([high + 1e-9, high + 3.0])
        np.testing.assert_array_equal(divergence.conjugate(above), np.inf)
        assert np.all(np.isfinite(cases.slope(divergence.conjugate)(above)))


@each
def test_the_activation_is_monotone_onto_the_domain(x64, divergence):
    v = jnp.linspace(-30.0, 30.0, 2001)
    t, steps = np.asarray(divergence.activation(v)), np.diff(np.asarray(divergence.activation(v)))
    assert np.all(steps >= -1e-15) or np.all(steps <= 1e-15)
    ends = sorted(np.asarray(divergence.activation(jnp.array([-600.0, 600.0]))))
    for end, limit in zip(ends, divergence.domain, strict=True):
        assert abs(end) > 100 if math.isinf(limit) else abs(end - limit) < 1e-12
    assert t.min() >= divergence.domain[0] - 1e-15
    assert t.max() <= divergence.domain[1] + 1e-15
    # each T of the table is reached: invert by bisection on the grid
    targets = np.asarray(divergence.critic_value(jnp.array([-2.0, 0.0, 2.0])))
    assert np.all((targets > ends[0]) & (targets < ends[1])) or divergence.name == "total_variation"


@pytest.mark.first(2)
@every
def test_the_ranges_are_the_limits(x64, divergence):
    """The range of f*(T) ends at −f(0); at −∞ and ∞ the forms are their limits."""
    forms = (divergence.critic_value, divergence.conjugate_value)
    for form, ends in zip(forms, (divergence.domain, divergence.conjugate_range), strict=True):
        np.testing.assert_allclose(form(jnp.array([-np.inf, np.inf])), ends, atol=1e-7)
    near = float(divergence.generator(jnp.asarray(1e-14)))
    assert near > 10 if math.isinf(divergence.at_zero) else abs(near - divergence.at_zero) < 2e-2
    slope = float(divergence.generator(jnp.asarray(1e14))) / 1e14
    assert slope > 5 if math.isinf(divergence.at_infinity) else abs(slope - divergence.at_infinity) < 2e-2


@pytest.mark.first(1)
@each
def test_the_activated_conjugate_is_the_composition(x64, divergence):
    v = jnp.linspace(-5.0, 5.0, 41)

    def composed(v):
        return divergence.conjugate(divergence.activation(v))

    np.testing.assert_allclose(divergence.activated_conjugate(v), composed(v), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        cases.slope(divergence.activated_conjugate)(v), cases.slope(composed)(v), rtol=1e-7, atol=1e-10
    )


def published(name):
    """The output activations as published."""

    def softplus(v):
        return np.logaddexp(v, 0)

    return {
        "total_variation": lambda v: 0.5 * np.tanh(v),
        "kl": lambda v: v,
        "reverse_kl": lambda v: -np.exp(v),
        "pearson": lambda v: np.exp(v) - 2,
        "neyman": lambda v: 1 - np.exp(v),
        "squared_hellinger": lambda v: 1 - np.exp(v),
        "jeffreys": lambda v: v,
        "jensen_shannon": lambda v: 0.5 * np.log(2) - 0.5 * softplus(-v),
        "gan": lambda v: -softplus(-v),
        "alpha(0.5)": lambda v: 2 - np.exp(v),
        "alpha(1.5)": lambda v: -2 + np.exp(v),
        "skew_jensen_shannon(0.9)": lambda v: -0.9 * np.log(0.9) - softplus(-v),
    }[name]


@pytest.mark.parametrize("name", [*divergences.NAMES, "alpha(0.5)", "alpha(1.5)", "skew_jensen_shannon(0.9)"])
def test_the_activation_is_the_published_one(x64, name):
    v = np.linspace(-4, 4, 33)
    np.testing.assert_allclose(divergences.named(name).activation(jnp.asarray(v)), published(name)(v), atol=1e-13)


def bound(t, conjugate, log_p, log_q):
    return np.sum(np.exp(np.asarray(log_p)) * t - np.exp(np.asarray(log_q)) * conjugate, -1)


@pytest.mark.first(12)
@every
def test_the_ratio_bound_is_tight_at_the_ratio_and_below_elsewhere(x64, divergence):
    log_p, log_q = cases.pairs()
    truth, ratio = cases.definition(divergence, log_p, log_q), log_p - log_q
    best = bound(divergence.critic_value(ratio), divergence.conjugate_value(ratio), log_p, log_q)
    np.testing.assert_allclose(best, truth, rtol=1e-12, atol=1e-12)
    rng = np.random.default_rng(1)
    for size in (0.01, 0.3, 3.0):
        off = ratio + jnp.asarray(rng.normal(size=ratio.shape) * size)
        other = bound(divergence.critic_value(off), divergence.conjugate_value(off), log_p, log_q)
        assert np.all(other <= truth + 1e-12 * (1 + np.abs(truth)))
        if divergence.ratio_trains and "total_variation" not in divergence.name:
            assert np.all(other < truth)


def invert(function, target, low=-2e4, high=2e4):
    """Solve ``function(v) = target`` for a monotone elementwise function, by bisection."""
    rises = function(jnp.asarray(1.0)) > function(jnp.asarray(-1.0))
    low, high = np.full(target.shape, low), np.full(target.shape, high)
    for _ in range(80):
        middle = 0.5 * (low + high)
        above = (np.asarray(function(jnp.asarray(middle))) > target) == bool(rises)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return jnp.asarray(0.5 * (low + high))


@pytest.mark.first(1)
@pytest.mark.parametrize("divergence", [d for d in cases.EVERY if d.activation and d.ratio_trains], ids=cases.name)
def test_the_activation_bound_is_tight_at_the_ratio_and_below_elsewhere(x64, divergence):
    log_p, log_q = cases.pairs(count=20)
    truth = cases.definition(divergence, log_p, log_q)
    v = invert(divergence.activation, np.asarray(divergence.critic_value(log_p - log_q)))
    for size in (0.0, 0.3, 3.0):
        off = v + jnp.asarray(np.random.default_rng(2).normal(size=v.shape) * size)
        value = bound(divergence.activation(off), divergence.activated_conjugate(off), log_p, log_q)
        if size == 0:
            np.testing.assert_allclose(value, truth, rtol=1e-12, atol=1e-12)
        else:
            assert np.all(value < truth)


def test_total_variation_is_reached_in_the_limit_of_its_activation(x64):
    log_p, log_q = cases.pairs()
    truth = cases.definition(divergences.total_variation, log_p, log_q)
    off = 1e5 * (log_p - log_q)
    value = bound(
        divergences.total_variation.activation(off), divergences.total_variation.activated_conjugate(off), log_p, log_q
    )
    np.testing.assert_allclose(value, truth, atol=1e-12)
    assert not divergences.total_variation.ratio_trains
    np.testing.assert_array_equal(cases.slope(divergences.total_variation.critic_value)(off), 0.0)


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("divergence", "trains"),
    [
        (divergences.from_generator(lambda u: 0.5 * jnp.abs(u - 1), name="total"), False),
        (divergences.from_generator(lambda u: jnp.maximum(u - 2, 0), name="hockey stick"), False),
        (divergences.from_generator(lambda u: jnp.maximum(u - 1, 0) ** 2, name="one side"), True),
        (divergences.mixture([1.0, 2.0], [divergences.total_variation, divergences.total_variation]), False),
        (divergences.mixture([1.0, 2.0], [divergences.total_variation, divergences.kl]), True),
        (divergences.swapped(divergences.from_generator(lambda u: jnp.maximum(u - 2, 0), name="stick")), False),
        (cases.no_name(divergences.total_variation), False),
        (divergences.jensen_shannon, True),
    ],
    ids=lambda each: each.name if isinstance(each, divergences.Divergence) else str(each),
)
def test_whether_a_critic_learns_is_probed(divergence, trains):
    assert divergence.ratio_trains == trains
    # a critic of an f that is curved nowhere would have the gradient 0 for every ratio
    slope = cases.slope(divergence.critic_value)(jnp.linspace(-9.7, 9.9, 99))
    assert np.any(np.asarray(slope) != 0) == trains


@pytest.mark.first(1)
@pytest.mark.parametrize("divergence", cases.SMOOTH, ids=cases.name)
def test_the_gradient_of_the_divergence_is_that_of_the_frozen_bound(x64, divergence):
    """``∇_θ D_f(P ‖ Q_θ) = −∇ E_{Q_θ} f*(T*)`` with T* frozen."""
    log_p, logits = cases.pairs()

    def distance(logits):
        return jnp.sum(divergences.between_categoricals(divergence, log_p, jax.nn.log_softmax(logits)))

    frozen = divergence.conjugate_value(log_p - jax.nn.log_softmax(logits))

    def surrogate(logits):
        return -jnp.sum(jax.nn.softmax(logits) * frozen)

    expected = jax.grad(distance)(logits)
    scale = 1 + np.max(np.abs(expected))
    np.testing.assert_allclose(jax.grad(surrogate)(logits), expected, atol=1e-12 * scale)


def test_the_wright_function_solves_its_equation(x64):
    x = jnp.concatenate([jnp.linspace(-700.0, 700.0, 1401), jnp.linspace(-3.0, 3.0, 601), jnp.array([1e-9, 1e6, 1e15])])
    root = log_wright_omega(x)
    np.testing.assert_allclose(root + jnp.exp(root), x, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(cases.slope(log_wright_omega)(x), 1 / (1 + jnp.exp(root)), rtol=1e-14)
    second = cases.slope(cases.slope(log_wright_omega))(x)
    w = jnp.exp(root)
    np.testing.assert_allclose(second, -w / (1 + w) ** 3, rtol=1e-10, atol=1e-15)


@pytest.mark.thorough
def test_jeffreys_conjugate_is_that_of_lambert(x64):
    from scipy.special import lambertw

    t = np.linspace(-5, 20, 101)
    w = lambertw(np.exp(1 - t)).real
    np.testing.assert_allclose(divergences.jeffreys.conjugate(jnp.asarray(t)), w + 1 / w + t - 2, rtol=1e-12)
