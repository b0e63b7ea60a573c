"""Rational-quadratic splines against a bin-by-bin computation, automatic derivatives and double precision."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import flows

BINS, BOUND = 5, 2.0
SPLINE = flows.rational_quadratic(bins=BINS, bound=BOUND, min_bin=0.01, min_slope=0.02)
RANDOM = np.random.default_rng(0)
THETA = RANDOM.standard_normal((40, 3 * BINS - 1))
X = np.concatenate((RANDOM.uniform(-BOUND, BOUND, 34), [-3.5, 2.5, 7.0, 0.0, -1.999, 1.999]))
BOTH = jax.jit(lambda theta, x: (SPLINE.forward(theta, x), SPLINE.inverse(theta, x)))


def one_by_one(theta, x):
    """The published formula for one number, the bin found by bisection."""
    if abs(x) > BOUND:
        return x, 0.0
    softmax = lambda u: np.exp(u) / np.exp(u).sum()  # noqa: E731
    widths, heights = (
        2 * BOUND * (0.01 + (1 - 0.01 * BINS) * softmax(u)) for u in (theta[:BINS], theta[BINS : 2 * BINS])
    )
    at_zero = np.log(np.exp(1 - 0.02) - 1)
    slopes = np.concatenate(([1.0], 0.02 + np.log1p(np.exp(theta[2 * BINS :] + at_zero)), [1.0]))
    x_knots, z_knots = (np.concatenate(([0.0], np.cumsum(sizes))) - BOUND for sizes in (widths, heights))
    k = int(np.clip(np.searchsorted(x_knots, x, side="right") - 1, 0, BINS - 1))
    s, xi = heights[k] / widths[k], (x - x_knots[k]) / widths[k]
    q = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    z = z_knots[k] + heights[k] * (s * xi**2 + slopes[k] * xi * (1 - xi)) / q
    slope = s**2 * (slopes[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + slopes[k] * (1 - xi) ** 2) / q**2
    return z, np.log(slope)


def test_it_is_the_published_formula(x64):
    (z, log_det), _ = BOTH(jnp.asarray(THETA), jnp.asarray(X))
    expected = np.array([one_by_one(theta, x) for theta, x in zip(THETA, X, strict=True)])
    np.testing.assert_allclose(z, expected[:, 0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(log_det, expected[:, 1], atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_agree(dtype):
    """At slopes from 1/50 to 50, to a rounding of the value and of the map's slope."""
    eps = np.finfo(dtype).eps
    with jax.enable_x64(dtype == "float64"):
        theta, x = jnp.asarray(2.5 * THETA, dtype), jnp.asarray(X, dtype)
        (z, log_det), _ = BOTH(theta, x)
        _, (back, log_det_back) = BOTH(theta, z)
        assert z.dtype == log_det.dtype == back.dtype == x.dtype
        slope = np.exp(np.asarray(log_det, np.float64))
        assert np.all(np.abs(back - x) <= 20 * eps * BOUND * np.maximum(1, 1 / slope) + eps * np.abs(x))
        # The slope of the slope is up to (largest slope)/(smallest bin): a bin here has at least 0.04.
        np.testing.assert_allclose(log_det, -log_det_back, atol=20 * eps * 50 / 0.04)
        same, zero = BOTH(jnp.zeros_like(theta), x)[0]
        np.testing.assert_allclose(same, x, atol=4 * eps * BOUND)
        np.testing.assert_allclose(zero, np.zeros_like(X), atol=20 * eps)


def test_single_precision_is_double_precision_rounded():
    eps = np.finfo(np.float32).eps
    theta, x = (2.5 * THETA).astype(np.float32), X.astype(np.float32)
    single = [np.asarray(leaf) for leaf in jax.tree.leaves(BOTH(theta, x))]
    with jax.enable_x64(True):
        double = BOTH(jnp.asarray(theta, jnp.float64), jnp.asarray(x, jnp.float64))
        exact = [np.asarray(leaf) for leaf in jax.tree.leaves(double)]
    for direction in (0, 2):
        slope = np.exp(exact[direction + 1])
        assert np.all(np.abs(single[direction] - exact[direction]) <= 20 * eps * 8 * np.maximum(1, slope))


def pulled(direction, theta, x):
    """The slope, and the gradients of the value and of the log-determinant in theta."""
    part = lambda i: lambda theta, x: jnp.sum(direction(theta, x)[i])  # noqa: E731
    return jax.grad(part(0), argnums=1)(theta, x), jax.grad(part(0))(theta, x), jax.grad(part(1))(theta, x)


def test_slopes_and_gradients(x64):
    theta, x = jnp.asarray(THETA), jnp.asarray(X)
    (z, log_det), _ = BOTH(theta, x)
    slope, value_gradient, log_det_gradient = jax.jit(functools.partial(pulled, SPLINE.forward))(theta, x)
    np.testing.assert_allclose(log_det, np.log(slope), atol=1e-11)
    for row in (0, 7, 34):  # two inside, one beyond
        moved = [
            [one_by_one(THETA[row] + sign * 1e-6 * unit, X[row]) for sign in (1, -1)] for unit in np.eye(3 * BINS - 1)
        ]
        expected = [(np.array(plus) - np.array(minus)) / 2e-6 for plus, minus in moved]
        np.testing.assert_allclose(value_gradient[row], [one[0] for one in expected], atol=1e-8)
        np.testing.assert_allclose(log_det_gradient[row], [one[1] for one in expected], atol=1e-8)
    # The gradient of an inverse is fixed by that of the forward map: ∂x/∂θ = -(∂z/∂θ)/(∂z/∂x).
    slope_back, value_gradient_back, _ = jax.jit(functools.partial(pulled, SPLINE.inverse))(theta, z)
    np.testing.assert_allclose(slope_back, 1 / slope, rtol=1e-11)
    np.testing.assert_allclose(value_gradient_back, -value_gradient / slope[:, None], rtol=1e-9, atol=1e-10)


def test_the_inverse_does_not_cancel_where_slopes_are_steep():
    """At the right end of a bin whose right knot is 200 times as steep as the bin, the usual root loses all digits."""
    theta = np.zeros((30, 3 * BINS - 1), np.float32)
    theta[:, 2 * BINS + 1] = 200.0
    x = np.linspace(-0.41, -0.395, 30, dtype=np.float32)
    z = BOTH(theta, x)[0][0]
    with jax.enable_x64(True):
        exact, log_det = BOTH(jnp.asarray(theta, jnp.float64), jnp.asarray(z, jnp.float64))[1]
    found = np.asarray(BOTH(theta, z)[1][0])
    eps = np.finfo(np.float32).eps
    assert np.all(np.abs(found - np.asarray(exact)) <= 8 * eps * BOUND * np.maximum(1, np.exp(np.asarray(log_det))))


def test_extreme_parameters_stay_finite():
    """Logits of ±1e4 at, beside and beyond the knots: values, log-determinants and gradients, in float32."""
    theta = jnp.asarray(1e4 * np.sign(THETA), jnp.float32)
    x = jnp.asarray(np.linspace(-1.01 * BOUND, 1.01 * BOUND, 40), jnp.float32)
    gradient = jax.jit(jax.grad(lambda theta, x: sum(map(jnp.sum, jax.tree.leaves(BOTH(theta, x)))), argnums=(0, 1)))
    for leaf in jax.tree.leaves((BOTH(theta, x), gradient(theta, x))):
        assert bool(jnp.all(jnp.isfinite(leaf)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flows.rational_quadratic(bins=1), "bins must be an integer ≥ 2, got 1"),
        (lambda: flows.rational_quadratic(bound=0.0), "bound must be a finite number > 0, got 0.0"),
        (
            lambda: flows.rational_quadratic(bins=4, min_bin=0.25),
            r"min_bin must be a number in \(0, 0.25\), got 0.25; all 4 bins",
        ),
        (lambda: flows.rational_quadratic(min_slope=1.0), r"min_slope must be a number in \(0, 1\), got 1.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
