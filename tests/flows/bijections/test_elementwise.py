"""Elementwise maps: both directions, derivatives by automatic differentiation, identity at zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import flows

MAPS = {
    "additive": flows.additive,
    "affine": flows.affine,
    "bounded": lambda: flows.affine(bound=0.7),
    "sigmoid": lambda: flows.affine(form="sigmoid"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("build", MAPS.values(), ids=MAPS)
def test_both_directions_agree_with_the_derivative(build, dtype):
    elementwise, eps = build(), np.finfo(dtype).eps
    random = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        theta = jnp.asarray(random.standard_normal((6, 4, elementwise.size)), dtype)
        x = jnp.asarray(3 * random.standard_normal((6, 4)), dtype)
        z, log_det = elementwise.forward(theta, x)
        back, log_det_back = elementwise.inverse(theta, z)
        assert z.dtype == log_det.dtype == back.dtype == x.dtype
        slope = jax.grad(lambda x: jnp.sum(elementwise.forward(theta, x)[0]))(x)
        slope_back = jax.grad(lambda z: jnp.sum(elementwise.inverse(theta, z)[0]))(z)
        np.testing.assert_allclose(back, x, rtol=20 * eps, atol=20 * eps * 10)
        np.testing.assert_allclose(log_det, np.log(slope), atol=20 * eps)
        np.testing.assert_allclose(log_det_back, np.log(slope_back), atol=20 * eps)
        same, zero = elementwise.forward(jnp.zeros_like(theta), x)
        np.testing.assert_allclose(same, x, rtol=2 * eps)
        np.testing.assert_allclose(zero, np.zeros((6, 4)), atol=2 * eps)


def test_closed_forms(x64):
    s, t, x = 0.8, -1.5, jnp.array([2.0])
    theta = jnp.array([[s, t]])
    expected = {
        "affine": np.exp(s) * 2 + t,
        "bounded": np.exp(0.7 * np.tanh(s / 0.7)) * 2 + t,
        "sigmoid": (1 + np.exp(-2)) / (1 + np.exp(-2 - s)) * 2 + t,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(MAPS[name]().forward(theta, x)[0], [value], rtol=1e-14)
    np.testing.assert_allclose(flows.additive().forward(theta[:, 1:], x)[0], [0.5], rtol=1e-14)
    # The bounds hold, and a scale of the sigmoid form can vanish without a log-determinant that is not finite.
    extreme = jnp.array([[1e4, 0.0], [-1e4, 0.0]])
    np.testing.assert_allclose(MAPS["bounded"]().forward(extreme, jnp.ones(2))[1], [0.7, -0.7], rtol=1e-14)
    np.testing.assert_allclose(
        MAPS["sigmoid"]().forward(extreme, jnp.ones(2))[1], [np.log1p(np.exp(-2)), -1e4 + 2 + np.log1p(np.exp(-2))]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flows.affine(form="softplus"), "form must be one of exponential, sigmoid; got 'softplus'"),
        (lambda: flows.affine(bound=0.0), "bound must be a finite number > 0, got 0.0"),
        (lambda: flows.affine(bound=float("inf")), "bound must be a finite number > 0, got inf"),
        (lambda: flows.affine(bound=1.0, form="sigmoid"), "has a bound of its own, got bound=1.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
