"""The invertible dense map: factors, determinant, what is fixed, and weights that it must refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from flows.oracle import check, perturbed

from vifx import flows
from vifx.distributions import standard_normal

VECTORS = np.random.default_rng(0).standard_normal((5, 4))
IMAGES = np.random.default_rng(1).standard_normal((4, 2, 3, 3))
WEIGHT = np.random.default_rng(2).standard_normal((4, 4))


def matrix(params, state):
    """``P L U`` in numpy."""
    factors = np.asarray(params["factors"], np.float64)
    upper = np.triu(factors, 1) + np.diag(np.asarray(state["sign"]) * np.exp(np.diag(factors)))
    return np.asarray(state["permutation"]) @ (np.tril(factors, -1) + np.eye(len(factors))) @ upper


@pytest.mark.first(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize("build", [flows.linear, lambda: flows.stack(flows.linear(), 3)], ids=["one", "stack"])
def test_both_directions_and_the_jacobian_agree(build, data, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(build(), jnp.asarray(data, dtype))


@pytest.mark.thorough
@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_it_is_its_three_factors_at_every_position(x64, data):
    x, bijection = jnp.asarray(data), flows.linear()
    params, state = bijection.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)
    weight = matrix(params, state)
    z, log_det = bijection.forward(params, state, x)
    np.testing.assert_allclose(z, np.einsum("oc,...c->...o", weight, data), rtol=1e-12, atol=1e-13)
    positions = data[0].size // data.shape[-1]
    np.testing.assert_allclose(log_det, np.full(len(data), positions * np.linalg.slogdet(weight)[1]), rtol=1e-12)
    np.testing.assert_allclose(bijection.inverse(params, state, z)[0], data, rtol=1e-11, atol=1e-12)


def test_it_starts_as_a_random_rotation(x64):
    """Orthogonal, of determinant 1, uniform: every entry of a uniform rotation has mean 0 and variance 1/n."""

    def start(key):
        params, state = flows.linear().init(key, jnp.ones((1, 3)))
        return params["factors"], state["permutation"], state["sign"]

    drawn = jax.jit(jax.vmap(start))(jax.random.split(jax.random.key(0), 2000))
    names = ("permutation", "sign")
    weights = np.stack(
        [matrix({"factors": f}, dict(zip(names, own, strict=True))) for f, *own in zip(*drawn, strict=True)]
    )
    unit = np.broadcast_to(np.eye(3), (2000, 3, 3))
    np.testing.assert_allclose(weights @ weights.transpose(0, 2, 1), unit, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(weights), np.ones(2000), rtol=1e-12)
    np.testing.assert_allclose(weights.mean(0), np.zeros((3, 3)), atol=4.5 / np.sqrt(3 * 2000))
    np.testing.assert_allclose((weights**2).mean(0), np.full((3, 3), 1 / 3), atol=0.035)


def test_it_starts_at_a_given_weight(x64):
    bijection = flows.linear(weight=WEIGHT)
    params, state = bijection.init(jax.random.key(0), jnp.asarray(VECTORS))
    np.testing.assert_allclose(matrix(params, state), WEIGHT, rtol=1e-12, atol=1e-13)
    # An independent factorization: scipy's permutation matrix and the signs of its diagonal.
    permutation, lower, upper = scipy.linalg.lu(WEIGHT)
    np.testing.assert_array_equal(state["permutation"], permutation)
    np.testing.assert_array_equal(state["sign"], np.sign(np.diag(upper)))
    np.testing.assert_allclose(np.tril(params["factors"], -1), np.tril(lower, -1), atol=1e-13)


@pytest.mark.first(1)
@pytest.mark.parametrize("channels", [1, 2, 7, 12])
def test_the_inverse_of_any_size(x64, channels):
    rng = np.random.default_rng(channels)
    weight, z = rng.standard_normal((channels, channels)), rng.standard_normal((3, channels))
    bijection = flows.linear(weight=weight)
    params, state = bijection.init(jax.random.key(0), jnp.asarray(z))
    x, log_det = bijection.inverse(params, state, jnp.asarray(z))
    np.testing.assert_allclose(x, np.linalg.solve(weight, z.T).T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(log_det, np.full(3, -np.linalg.slogdet(weight)[1]), rtol=1e-10, atol=1e-12)


@pytest.mark.thorough
def test_gradient_of_the_likelihood(x64):
    """Of a dense map of a normal: ``∂/∂W Σ log q = n W⁻ᵀ − Σ z xᵀ``, pulled back to the factors."""
    x, bijection = jnp.asarray(VECTORS), flows.linear(weight=WEIGHT)
    params, state = bijection.init(jax.random.key(0), x)
    flow = flows.Flow(standard_normal(4), bijection)
    found = jax.grad(lambda params: jnp.sum(flow.log_prob(params, state, x)))(params)["factors"]
    law = scipy.stats.multivariate_normal(np.zeros(4), np.linalg.inv(WEIGHT.T @ WEIGHT))
    np.testing.assert_allclose(flow.log_prob(params, state, x), law.logpdf(VECTORS), rtol=1e-10)
    slope = len(x) * np.linalg.inv(WEIGHT).T - (VECTORS @ WEIGHT.T).T @ VECTORS
    permutation, lower, upper = scipy.linalg.lu(WEIGHT)
    expected = np.tril(permutation.T @ slope @ upper.T, -1) + np.triu(lower.T @ permutation.T @ slope, 1)
    expected += np.diag(np.diag(lower.T @ permutation.T @ slope) * np.diag(upper))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((3, 3)), "weight is singular"),
        (np.zeros((2, 2)), "weight is singular"),
        (np.ones((2, 3)), r"must be a square matrix \[channels, channels\], got \[2, 3\]"),
        (np.full((2, 2), np.nan), "not finite"),
    ],
)
def test_a_weight_that_is_not_invertible(weight, message):
    with pytest.raises(ValueError, match=message):
        flows.linear(weight=weight)


def test_a_weight_of_another_size():
    with pytest.raises(ValueError, match=r"weight is \[2, 2\], but the data \[5, 4\] have 4 channels"):
        flows.linear(weight=np.eye(2)).init(jax.random.key(0), jnp.asarray(VECTORS, jnp.float32))
