"""Schedules against their formulas and differences; what they refuse."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import diffusion
from vifx.checks import ArgumentError

T = np.linspace(0, 1, 101)
SCHEDULES = {
    "linear": diffusion.linear_log_snr(start=-9.0, end=4.0),
    "cosine": diffusion.cosine(start=-9.0, end=4.0),
    "beta": diffusion.linear_beta(start=-9.0),
    "exploding": diffusion.linear_log_snr(start=2 * math.log(0.01), end=2 * math.log(50), variance="exploding"),
    "own": diffusion.schedule(lambda t: 12 * t**2 + t - 9),
    "learned": diffusion.learned(start=-9.0, end=4.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_gamma_rises_between_the_ends_and_its_slope_is_the_derivative(name):
    each = SCHEDULES[name]
    with jax.enable_x64(True):
        params = each.init(jax.random.key(0))
        gamma = np.asarray(each.gamma(jnp.asarray(T), params))
        assert np.all(np.diff(gamma) > 0)
        np.testing.assert_allclose(gamma[[0, -1]], [each.start, each.end], rtol=1e-9)
        value, slope = each.slope(jnp.asarray(T[1:-1]), params)
        around = [np.asarray(each.gamma(jnp.asarray(T[1:-1] + h), params)) for h in (-1e-5, 1e-5)]
        np.testing.assert_allclose(value, gamma[1:-1])
        np.testing.assert_allclose(slope, (around[1] - around[0]) / 2e-5, rtol=1e-4)
        level = each.level(jnp.asarray(T), params)
        np.testing.assert_allclose(2 * np.log(level.sigma / level.alpha), gamma, atol=1e-9)
        total = level.alpha**2 + level.sigma**2
        np.testing.assert_allclose(total, 1 if each.variance == "preserving" else 1 + np.exp(gamma), rtol=1e-9)
        np.testing.assert_allclose(level.norm, np.sqrt(total), rtol=1e-9)
        np.testing.assert_allclose(each.told(jnp.asarray(gamma))[jnp.array([0, -1])], [0, 1], atol=1e-9)


def test_the_formulas_of_the_named_ones():
    with jax.enable_x64(True):
        t = jnp.asarray(T)
        cosine = SCHEDULES["cosine"].level(t)
        angle = np.arcsin(np.asarray(cosine.sigma))
        np.testing.assert_allclose(np.diff(angle), np.full(100, (angle[-1] - angle[0]) / 100), rtol=1e-8)
        # DDPM's discrete β of 1000 steps, whose product is α², up to the size of a step.
        beta = np.linspace(1e-4, 0.02, 1000)
        whole = diffusion.linear_beta(beta=(0.1, 20.0), start=-13.3).level(jnp.linspace(0, 1, 1001)).alpha
        np.testing.assert_allclose(np.log(whole[250::250]), 0.5 * np.cumsum(np.log1p(-beta))[249::250], rtol=0.02)
        np.testing.assert_allclose(SCHEDULES["linear"].gamma(t), -9 + 13 * T)


def test_single_precision_keeps_what_is_near_the_ends():
    for each in (diffusion.cosine(), diffusion.linear_beta(), diffusion.linear_log_snr()):
        gamma = np.asarray(each.gamma(jnp.linspace(0, 1, 1001)))
        with jax.enable_x64(True):
            exact = np.asarray(each.gamma(jnp.linspace(0, 1, 1001, dtype=jnp.float64)))
        np.testing.assert_allclose(gamma, exact, atol=2e-5)
        assert np.all(np.diff(gamma) > 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: diffusion.cosine(start=5.0, end=-5.0), r"end must be a finite number > 5, got -5.*increases"),
        (lambda: diffusion.linear_log_snr(start=math.nan), r"start must be a finite number, got nan"),
        (lambda: diffusion.linear_beta(beta=(0.2, 0.1)), r"beta\[1\] must be a finite number > 0.2, got 0.1"),
        (
            lambda: diffusion.schedule(lambda t: -t),
            r"gamma = −log SNR must increase, but γ\(0\) = -?0 and γ\(0.0009766\)",
        ),
        (lambda: diffusion.schedule(jnp.log), r"gamma must be finite in \[0, 1\], but is -inf at t = 0"),
        (lambda: diffusion.schedule(jnp.sum), r"gamma must be elementwise"),
        (lambda: diffusion.cosine().gamma(jnp.asarray(1.5)), r"t must be in \[0, 1\], got 1.5"),
        (lambda: diffusion.cosine().gamma(jnp.asarray([0.5, jnp.nan])), r"t must be in \[0, 1\], got nan"),
        (lambda: diffusion.cosine(variance="constant"), r"variance must be one of preserving, exploding"),
        (lambda: diffusion.learned(units=0), r"units must be an integer ≥ 1, got 0"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    assert issubclass(ArgumentError, ValueError)
