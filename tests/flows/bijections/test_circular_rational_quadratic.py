"""Splines of the circle: periodic with their derivative, a bin-by-bin computation, mass one, and both directions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from flows.oracle import check

from vifx import flows

BINS = 4
CIRCLE = flows.circular_rational_quadratic(bins=BINS, min_bin=0.01, min_slope=0.02)
THETA = 0.8 * np.random.default_rng(0).standard_normal((30, CIRCLE.size))
ANGLES = np.random.default_rng(1).uniform(-math.pi, math.pi, 30)


def apart(one, other):
    """The distance of angles on the circle."""
    return np.abs(np.angle(np.exp(1j * (np.asarray(one) - np.asarray(other)))))


def one_by_one(theta, x):
    """The published formula for one angle, and the rotation."""
    softmax = lambda u: np.exp(u) / np.exp(u).sum()  # noqa: E731
    widths, heights = (
        2 * math.pi * (0.01 + (1 - 0.01 * BINS) * softmax(u)) for u in (theta[:BINS], theta[BINS : 2 * BINS])
    )
    slopes = 0.02 + np.log1p(np.exp(theta[2 * BINS : 3 * BINS] + np.log(np.exp(1 - 0.02) - 1)))
    slopes = np.append(slopes, slopes[0])
    x_knots, z_knots = (np.concatenate(([0.0], np.cumsum(sizes))) - math.pi for sizes in (widths, heights))
    k = int(np.clip(np.searchsorted(x_knots, x, side="right") - 1, 0, BINS - 1))
    s, xi = heights[k] / widths[k], (x - x_knots[k]) / widths[k]
    q = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    z = z_knots[k] + heights[k] * (s * xi**2 + slopes[k] * xi * (1 - xi)) / q
    slope = s**2 * (slopes[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + slopes[k] * (1 - xi) ** 2) / q**2
    return z + theta[-1], np.log(slope)


def test_it_is_the_published_spline_and_a_rotation(x64):
    z, log_det = jax.jit(CIRCLE.forward)(jnp.asarray(THETA), jnp.asarray(ANGLES))
    expected = np.array([one_by_one(theta, x) for theta, x in zip(THETA, ANGLES, strict=True)])
    np.testing.assert_allclose(apart(z, expected[:, 0]), 0, atol=1e-12)
    np.testing.assert_allclose(log_det, expected[:, 1], atol=1e-11)
    assert np.all((np.asarray(z) >= -math.pi) & (np.asarray(z) <= math.pi))


@pytest.mark.thorough
def test_it_is_periodic_with_its_derivative(x64):
    """Across the cut value and slope are continuous, whole turns change nothing, and zero is the identity."""
    theta = jnp.asarray(THETA)
    ends = [jax.jit(CIRCLE.forward)(theta, jnp.full(30, end)) for end in (-math.pi + 1e-10, math.pi - 1e-10)]
    np.testing.assert_allclose(apart(ends[0][0], ends[1][0]), 0, atol=1e-7)
    np.testing.assert_allclose(ends[0][1], ends[1][1], atol=1e-7)
    np.testing.assert_allclose(apart(ends[0][0], -math.pi + THETA[:, -1]), 0, atol=1e-7)
    z, log_det = CIRCLE.forward(theta, jnp.asarray(ANGLES))
    for turns in (-2, 1, 3):
        again, same = CIRCLE.forward(theta, jnp.asarray(ANGLES + 2 * math.pi * turns))
        np.testing.assert_allclose(apart(again, z), 0, atol=1e-10)
        np.testing.assert_allclose(same, log_det, atol=1e-10)
    z, log_det = CIRCLE.forward(jnp.zeros_like(theta), jnp.asarray(ANGLES))
    np.testing.assert_allclose(z, ANGLES, atol=1e-13)
    np.testing.assert_allclose(log_det, np.zeros(30), atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_agree(dtype):
    eps = np.finfo(dtype).eps
    with jax.enable_x64(dtype == "float64"):
        theta, x = jnp.asarray(THETA, dtype), jnp.asarray(ANGLES, dtype)

        def slopes(theta, x):
            return jax.grad(lambda x: jnp.sum(CIRCLE.forward(theta, x)[0]))(x)

        z, log_det = jax.jit(CIRCLE.forward)(theta, x)
        back, log_det_back = jax.jit(CIRCLE.inverse)(theta, z)
        slope = np.asarray(jax.jit(slopes)(theta, x), np.float64)
        assert np.all(apart(back, ANGLES.astype(dtype)) <= 40 * eps * math.pi * np.maximum(1, 1 / slope))
        np.testing.assert_allclose(log_det, np.log(slope), atol=100 * eps)
        np.testing.assert_allclose(log_det_back, -np.asarray(log_det), atol=20 * eps * 50 / 0.04)


@pytest.mark.thorough
def test_gradients_of_the_parameters(x64):
    part = lambda i: lambda theta, x: jnp.sum(CIRCLE.forward(theta, x)[i])  # noqa: E731
    value, log_det = (jax.jit(jax.grad(part(i)))(jnp.asarray(THETA), jnp.asarray(ANGLES)) for i in (0, 1))
    for row in (0, 7, 21):
        moved = [
            [one_by_one(THETA[row] + sign * 1e-6 * unit, ANGLES[row]) for sign in (1, -1)]
            for unit in np.eye(CIRCLE.size)
        ]
        expected = [(np.array(plus) - np.array(minus)) / 2e-6 for plus, minus in moved]
        np.testing.assert_allclose(value[row], [one[0] for one in expected], atol=1e-8)
        np.testing.assert_allclose(log_det[row], [one[1] for one in expected], atol=1e-7)


@pytest.mark.thorough
def test_an_angle_alone_has_mass_one(x64):
    """By the rectangle rule over whole periods, which is as good as the density is smooth across the cut."""
    bijection = flows.autoregressive(flows.circular_rational_quadratic(bins=4), hidden=(4,))
    uniform = dist.Uniform(-math.pi, math.pi)
    flow, x = flows.Flow(uniform, bijection), jnp.linspace(-math.pi, math.pi, 2001)[:-1]
    params, state = flow.init(jax.random.key(0), x[:3])
    draw = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: leaf + 0.6 * draw.standard_normal(leaf.shape), params)
    density = np.exp(np.asarray(jax.jit(flow.log_prob)(params, state, x)))
    assert density.sum() * 2 * math.pi / 2000 == pytest.approx(1, abs=1e-5)
    assert density.max() > 2 * density.min()
    samples = np.asarray(flow.sample(jax.random.key(1), params, state, 20_000))
    for k in (1, 2):  # the first two moments of the circle, to 4.26 standard errors
        expected = np.sum(density * np.exp(1j * k * np.asarray(x))) * 2 * math.pi / 2000
        assert abs(np.mean(np.exp(1j * k * samples)) - expected) < 4.26 / math.sqrt(20_000)


def test_bad_input():
    with pytest.raises(ValueError, match="circular_rational_quadratic: bins must be an integer ≥ 2, got 1"):
        flows.circular_rational_quadratic(bins=1)
    with pytest.raises(ValueError, match=r"min_bin must be a number in \(0, 0.25\), got 0.25; all 4 bins must fit"):
        flows.circular_rational_quadratic(bins=4, min_bin=0.25)


@pytest.mark.thorough
def test_in_a_coupling_both_directions_and_the_jacobian_agree(x64):
    bijection = flows.coupling(
        flows.dense((6,), activation=jnp.tanh), flows.circular_rational_quadratic(bins=3), mask=flows.halves()
    )
    check(bijection, jnp.asarray(ANGLES[:20].reshape(5, 4) * 0.9), jnp.asarray(np.cos(ANGLES[:5, None])), scale=0.1)
