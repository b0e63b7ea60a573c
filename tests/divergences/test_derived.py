"""Swapped arguments, mixtures, families and their limits, from a generator, and names."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from divergences import cases

from vifx import divergences

RATIO = np.linspace(-5, 5, 41)


def assert_same(one, other, factor=1.0, tolerance=1e-10):
    """T, f* of the ratio and the divergence agree, the second multiplied by a factor."""
    ratio, pair = jnp.asarray(RATIO), cases.pairs()
    for form in ("critic_value", "conjugate_value"):
        expected = factor * np.asarray(getattr(other, form)(ratio))
        np.testing.assert_allclose(getattr(one, form)(ratio), expected, rtol=tolerance, atol=tolerance)
    expected = factor * np.asarray(divergences.between_categoricals(other, *pair))
    np.testing.assert_allclose(divergences.between_categoricals(one, *pair), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.first(2)
@pytest.mark.parametrize("divergence", cases.CASES, ids=cases.name)
def test_swapping_exchanges_the_arguments(x64, divergence):
    log_p, log_q = cases.pairs()
    expected = divergences.between_categoricals(divergence, log_q, log_p)
    for other in (divergences.swapped(divergence), divergences.swapped(cases.no_name(divergence))):
        value = divergences.between_categoricals(other, log_p, log_q)
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12)
        generator = cases.definition(other, log_p, log_q)
        np.testing.assert_allclose(generator, expected, rtol=1e-10, atol=1e-12)
        assert (other.at_zero, other.at_infinity) == pytest.approx((divergence.at_infinity, divergence.at_zero))


def test_swapping_knows_the_names_and_undoes_itself():
    expected = {"kl": "reverse_kl", "reverse_kl": "kl", "pearson": "neyman", "neyman": "pearson"}
    for name in divergences.NAMES:
        assert divergences.swapped(divergences.named(name)).name == expected.get(name, name)
    assert divergences.swapped(divergences.alpha(1.5)) is divergences.alpha(-0.5)
    made = divergences.from_generator(lambda u: (u - 1) ** 4, name="quartic")
    assert divergences.swapped(divergences.swapped(made)) is made


def test_alpha_identities(x64):
    assert_same(divergences.alpha(2), divergences.pearson, 0.5)
    assert_same(divergences.alpha(-1), divergences.neyman, 0.5)
    assert_same(divergences.alpha(0.5), divergences.squared_hellinger, 2.0)


@pytest.mark.parametrize(("at", "limit"), [(1.0, divergences.kl), (0.0, divergences.reverse_kl)])
def test_alpha_limits(x64, at, limit):
    """The limit is approached linearly, from both sides."""
    ratio, (log_p, log_q) = jnp.asarray(RATIO), cases.pairs()
    truth = np.asarray(divergences.between_categoricals(limit, log_p, log_q))
    for step in (1e-3, 1e-6):
        for side in (-step, step):
            near = divergences.alpha(at + side)
            assert np.max(np.abs(divergences.between_categoricals(near, log_p, log_q) - truth)) < 40 * step
            # alpha's T differs from that of KL by a constant, which f* makes up for
            for form in ("critic_value", "conjugate_value"):
                offset = getattr(near, form)(ratio) - getattr(limit, form)(ratio)
                assert np.ptp(np.asarray(offset)) < 3e4 * step


def test_skew_limits_and_middle(x64):
    assert_same(divergences.skew_jensen_shannon(0.5), divergences.jensen_shannon)
    log_p, log_q = cases.pairs()
    for weight, limit in ((1e-6, divergences.kl), (1 - 1e-6, divergences.reverse_kl)):
        value = divergences.between_categoricals(divergences.skew_jensen_shannon(weight), log_p, log_q) / 1e-6
        np.testing.assert_allclose(value, divergences.between_categoricals(limit, log_p, log_q), rtol=1e-2)


def test_the_gan_value_is_twice_jensen_shannon_but_for_its_constant(x64):
    log_p, log_q = cases.pairs()
    js = divergences.between_categoricals(divergences.jensen_shannon, log_p, log_q)
    value = divergences.between_categoricals(divergences.gan, log_p, log_q)
    np.testing.assert_allclose(value - divergences.gan.at_equality, 2 * js, atol=1e-14)


def test_mixtures_add(x64):
    both = divergences.mixture([1, 1], [divergences.kl, divergences.reverse_kl])
    assert_same(both, divergences.jeffreys)
    log_p, log_q = cases.pairs()
    parts = [divergences.pearson, divergences.total_variation, divergences.gan]
    value = divergences.between_categoricals(divergences.mixture([0.2, 0, 3.0], parts), log_p, log_q)
    one, _, three = (divergences.between_categoricals(d, log_p, log_q) for d in parts)
    np.testing.assert_allclose(value, 0.2 * one + 3 * three, rtol=1e-12)
    only = divergences.mixture([1], [divergences.total_variation])
    assert (only.ratio_trains, both.ratio_trains, both.domain) == (False, True, (-math.inf, math.inf))
    assert divergences.mixture([2.0], [divergences.gan]).at_equality == -4 * math.log(2)


@pytest.mark.first(1)
@pytest.mark.parametrize("name", [n for n in divergences.NAMES if n != "gan"])
def test_from_the_generator_comes_the_row(x64, name):
    row = divergences.named(name)
    made = divergences.from_generator(row.generator, name=name)
    ratio = jnp.asarray(RATIO + 0.01)
    np.testing.assert_allclose(made.critic_value(ratio), row.critic_value(ratio), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(made.conjugate_value(ratio), row.conjugate_value(ratio), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(made.domain, row.domain, atol=1e-8)
    np.testing.assert_allclose(made.conjugate_range, row.conjugate_range, atol=1e-7)
    assert made.conjugate is made.activation is None


def test_from_generator_works_inside_of_jit():
    @jax.jit
    def value(log_p, log_q):
        made = divergences.from_generator(lambda u: (u - 1) ** 2, name="square")
        return divergences.between_categoricals(made, log_p, log_q)

    log_p, log_q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
    np.testing.assert_allclose(value(log_p, log_q), 1 / 3, rtol=1e-6)


REFUSED = {
    "concave": (lambda u: 1 - u**2, r"convex, but between u = \S+ and \S+ its slope goes from -"),
    "dent": (lambda u: (u - 1) ** 2 + 0.3 * (jnp.cos(4 * u) - math.cos(4)), r"convex, but between u = \d\S+ and \d"),
    "offset": (lambda u: u * jnp.log(u) + 0.25, r"zero at 1, but f\(1\) = 0\.25; subtract it"),
    "gan": (divergences.gan.generator, r"zero at 1, but f\(1\) = -1\.38629"),
    "pole": (lambda u: jnp.log(u - 0.5) * 0 + (u - 1) ** 2, r"finite for u > 0, but f\(6\.144e-06\) = nan"),
    "overflow": (lambda u: jnp.exp(u) - math.e * u, r"finite for u > 0, but f\(\d+\.?\d*\) = inf"),
    "affine": (lambda u: 3 * (u - 1), "curved, but f′ = 3 everywhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_function_that_generates_no_divergence_is_refused(case):
    generator, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"generator of {case} must be {message}"):
        divergences.from_generator(generator, name=case)


def test_a_function_that_is_not_elementwise_is_refused():
    with pytest.raises(TypeError, match=r"elementwise, but maps float64\[193\] to float64\[\]"):
        divergences.from_generator(lambda u: jnp.sum((u - 1) ** 2), name="sum")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: divergences.alpha(0), r"α = 0; use its limit there, divergences\.reverse_kl"),
        (lambda: divergences.alpha(1.0), r"α = 1; use its limit there, divergences\.kl"),
        (lambda: divergences.alpha(math.nan), r"a number in \[-1e\+06, 1e\+06\], got nan"),
        (lambda: divergences.skew_jensen_shannon(0.0), "between 0 and 1, got 0.0; .* kl and reverse_kl"),
        (lambda: divergences.skew_jensen_shannon(1.2), "between 0 and 1, got 1.2"),
        (lambda: divergences.mixture([1.0], [divergences.kl] * 2), "one for each divergence, got 1 for 2"),
        (
            lambda: divergences.mixture([1.0, -0.5], [divergences.kl] * 2),
            r"weights\[1\] must be a finite number ≥ 0, got -0.5",
        ),
        (
            lambda: divergences.mixture([math.inf], [divergences.kl]),
            r"weights\[0\] must be a finite number ≥ 0, got inf",
        ),
        (lambda: divergences.mixture([0.0], [divergences.kl]), r"positive entry, got \[0\.0\]"),
        (lambda: divergences.named("pearsons"), r"got 'pearsons'; did you mean 'pearson'\?"),
        (lambda: divergences.named("alpha"), r"got 'alpha'; did you mean 'alpha\(0\.5\)'\?"),
        (lambda: divergences.named("alpha(x)"), r"got 'alpha\(x\)'; did you mean 'alpha\(0\.5\)'\?"),
        (lambda: divergences.named("alpha(1)"), r"divergences\.kl"),
    ],
)
def test_bad_input_is_refused_with_its_remedy(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_names_find_their_divergences():
    assert [divergences.named(name).name for name in divergences.NAMES] == list(divergences.NAMES)
    assert {"total_variation", "kl", "reverse_kl"} < set(divergences.NAMES)
    assert divergences.named("alpha(-0.5)") is divergences.alpha(-0.5)
    assert divergences.named("skew_jensen_shannon(0.1)").domain[1] == pytest.approx(-0.1 * math.log(0.1))
    for made in cases.FAMILIES:
        assert divergences.named(made.name) is made


def test_a_divergence_with_half_an_activation_or_an_empty_domain_is_refused():
    with pytest.raises(ValueError, match="both activation and activated_conjugate"):
        divergences.Divergence(**{**vars(divergences.kl), "activation": None})
    with pytest.raises(ValueError, match="low < high"):
        divergences.Divergence(**{**vars(divergences.kl), "domain": (1.0, 1.0)})
