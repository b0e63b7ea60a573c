"""Functions of every element: closed forms, gradients, extremes, the edges of their intervals, and scalar events."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flows.oracle import check

from vifx import flows
from vifx.distributions import standard_normal

X = np.random.default_rng(0).standard_normal((5, 2, 3))
SLOPE_AT_2 = 1 / np.cosh(2) ** 2


def leaky(x):
    beyond = np.sign(x) * (np.tanh(2) + (np.abs(x) - 2) * SLOPE_AT_2)
    return np.where(np.abs(x) <= 2, np.tanh(x), beyond)


# The map, its values, its slope, and the derivative of the logarithm of that, in NumPy.
MAPS = {
    "tanh": (flows.tanh, np.tanh, lambda x: 1 / np.cosh(x) ** 2, lambda x: -2 * np.tanh(x)),
    "leaky_tanh": (
        lambda: flows.leaky_tanh(bound=2),
        leaky,
        lambda x: np.where(np.abs(x) <= 2, 1 / np.cosh(x) ** 2, SLOPE_AT_2),
        lambda x: np.where(np.abs(x) <= 2, -2 * np.tanh(x), 0),
    ),
    "sigmoid": (
        flows.sigmoid,
        scipy.special.expit,
        lambda x: scipy.special.expit(x) * scipy.special.expit(-x),
        lambda x: 1 - 2 * scipy.special.expit(x),
    ),
    "exp": (flows.exp, np.exp, np.exp, np.ones_like),
    "softplus": (
        flows.softplus,
        lambda x: np.logaddexp(0, x),
        scipy.special.expit,
        lambda x: scipy.special.expit(-x),
    ),
    "root": (lambda: flows.power(0.5), np.sqrt, lambda x: 0.5 / np.sqrt(x), lambda x: -0.5 / x),
    "reciprocal": (lambda: flows.power(-1), lambda x: 1 / x, lambda x: x**-2.0, lambda x: -2 / x),
    "derived": (  # its slope is found by automatic differentiation
        lambda: flows.pointwise("sinh", jnp.sinh, jnp.arcsinh),
        np.sinh,
        np.cosh,
        np.tanh,
    ),
}
BOUNDED = {"tanh": (-1, 1), "sigmoid": (0, 1), "exp": (0, np.inf), "softplus": (0, np.inf)}  # their images


@pytest.mark.first(1)
@pytest.mark.parametrize("name", MAPS)
def test_values_slopes_and_gradients(x64, name):
    build, value, slope, change = MAPS[name]
    x = np.abs(2 * X) + 0.1 if name in ("root", "reciprocal") else 2 * X
    bijection = build()

    def total(x):
        z, log_det = bijection.forward({}, {}, x)
        return jnp.sum(log_det), (z, log_det)

    gradient, (z, log_det) = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(x))
    np.testing.assert_allclose(z, value(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(log_det, np.log(slope(x)).sum((1, 2)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, change(x), rtol=1e-11, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", MAPS)
def test_both_directions_and_the_jacobian_agree(x64, name):
    x = jnp.asarray(np.abs(2 * X) + 0.1 if name in ("root", "reciprocal") else 2 * X)
    check(MAPS[name][0](), x)
    check(flows.invert(MAPS[name][0]()), MAPS[name][0]().forward({}, {}, x)[0])


@pytest.mark.thorough
@pytest.mark.parametrize("name", MAPS)
def test_extremes_are_finite(name):
    """In single precision: far out, beside the ends, and what one direction returns the other takes."""
    bijection = MAPS[name][0]()
    positive = name in ("root", "reciprocal")
    x = np.array([0.0, 1e-30, 1e-6, 1.0, 8.0, 20.0, 80.0, 1e4, 1e30], np.float32)
    x = x[1:] if positive else np.concatenate([-x[1:], x])

    def total(x):
        z, log_det = bijection.forward({}, {}, x)
        back, log_det_back = bijection.inverse({}, {}, z)
        return jnp.sum(jnp.where(jnp.abs(x) < 80, z + log_det, 0)), (z, log_det, back, log_det_back)

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(x))
    representable = np.abs(x) <= 80 if name == "derived" else np.abs(x) >= 1e-6 if name == "reciprocal" else x == x
    for leaf in (gradient, *found):  # the slopes of 1/x and of sinh overflow elsewhere
        assert np.isfinite(np.asarray(leaf)[representable]).all(), leaf
    if name in BOUNDED:
        low, high = BOUNDED[name]
        assert np.all((np.asarray(found[0]) > low) & (np.asarray(found[0]) < high))
        bijection.inverse({}, {}, found[0])  # nothing that it returns is refused


@pytest.mark.thorough
@pytest.mark.parametrize(("build", "x"), [(flows.exp, -20.0), (flows.leaky_tanh, 50.0), (flows.softplus, -20.0)])
def test_small_values_keep_their_digits(build, x):
    z, log_det = build().forward({}, {}, jnp.full(1, x, jnp.float32))
    back, log_det_back = build().inverse({}, {}, z)
    np.testing.assert_allclose(back, [x], rtol=1e-5)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-5)


@pytest.mark.thorough
def test_the_leaky_tanh_is_smooth_at_its_bound(x64):
    side = jnp.array([2 - 1e-9, 2 + 1e-9])
    (low, high), log_slope = flows.leaky_tanh(bound=2).forward({}, {}, side)
    assert high - low == pytest.approx(2e-9 * SLOPE_AT_2, rel=1e-6)
    np.testing.assert_allclose(log_slope, np.log(SLOPE_AT_2), rtol=1e-8)


@pytest.mark.first(1)
@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_scalar_events_and_vectors_have_one_log_determinant_an_example(shape):
    x = jnp.asarray(np.resize(X, shape), jnp.float32)
    z, log_det = jax.jit(flows.exp().forward)({}, {}, x)
    np.testing.assert_allclose(z, np.exp(np.asarray(x)), rtol=1e-6)
    np.testing.assert_allclose(log_det, np.asarray(x).reshape(4, -1).sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: flows.exp().inverse({}, {}, x), r"exp: inverse needs values in \(0, inf\), got values from -1.0 to"),
        (lambda x: flows.tanh().inverse({}, {}, x), r"tanh: inverse needs values in \(-1, 1\)"),
        (lambda x: flows.power(2).forward({}, {}, x), r"power: forward needs values in \(0, inf\)"),
        (lambda x: flows.sigmoid().inverse({}, {}, x * jnp.nan), "got values from nan"),
        (lambda x: flows.power(0), "exponent must not be 0"),
        (lambda x: flows.power(float("inf")), "exponent must be a finite number, got inf"),
        (lambda x: flows.leaky_tanh(bound=7), r"bound must be a number in \(0, 6\], got 7"),
        (lambda x: flows.pointwise("f", jnp.exp, jnp.log, image=(1, 0)), r"image must be two numbers.*got \(1, 0\)"),
    ],
)
def test_data_and_settings_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.array([[-1.0, 0.5], [1.0, 2.0]]))
    with pytest.raises(TypeError, match=r"forward must be a function x -> z, got None"):
        flows.pointwise("f", None, jnp.log)


@pytest.mark.thorough
def test_data_out_of_range_that_cannot_be_seen_have_density_zero():
    """Of the logarithm of a normal variable, without a gradient that is not finite."""
    flow = flows.Flow(standard_normal(), flows.invert(flows.exp()))
    x = jnp.array([-1.0, 0.0, 2.0])
    log_prob = jax.jit(lambda x: flow.log_prob({}, {}, x))
    expected = -0.5 * np.log(2) ** 2 - np.log(2) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_prob(x), [-np.inf, -np.inf, expected], rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: log_prob(x)[2]))(x)
    np.testing.assert_allclose(gradient, [0, 0, -0.5 * np.log(2) - 0.5], rtol=1e-5)
