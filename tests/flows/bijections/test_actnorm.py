"""Activation normalization: its values, its initialization through compositions, and data that it must refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check

from vifx import flows

VECTORS = np.random.default_rng(0).standard_normal((6, 3)) * [1.0, 5.0, 0.1] + [0.0, 30.0, -2.0]
IMAGES = np.random.default_rng(1).gamma(2.0, size=(4, 2, 3, 2)) * [1.0, 20.0]


@pytest.mark.first(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize("build", [flows.actnorm, lambda: flows.stack(flows.actnorm(), 3)], ids=["one", "stack"])
def test_both_directions_and_the_jacobian_agree(build, data, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(build(), jnp.asarray(data, dtype))


@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_the_first_batch_gets_mean_zero_and_variance_one(x64, data):
    x, axes = jnp.asarray(data), tuple(range(data.ndim - 1))
    bijection = flows.actnorm()
    params, state = bijection.init(jax.random.key(0), x)
    z, log_det = bijection.forward(params, state, x)
    np.testing.assert_allclose(z, (data - data.mean(axes)) / data.std(axes), rtol=1e-12, atol=1e-12)
    positions = data[0].size // data.shape[-1]
    np.testing.assert_allclose(log_det, np.full(len(data), -positions * np.log(data.std(axes)).sum()), rtol=1e-12)
    # Later batches do not move it.
    np.testing.assert_allclose(bijection.forward(params, state, 2 * x)[0], z + data / data.std(axes), rtol=1e-12)


def test_it_is_initialized_on_what_comes_before(x64):
    """Under a chain, an inverse and a stack; in a stack all but the first see normalized data."""
    x = jnp.asarray(VECTORS)
    squash = flows.checked(
        "squash",
        lambda key, x, given: ({}, {}),
        lambda p, s, x, given, key: (jnp.arcsinh(x), -0.5 * jnp.sum(jnp.log1p(x**2), axis=1)),
        lambda p, s, z, given, key: (jnp.sinh(z), jnp.sum(jnp.log(jnp.cosh(z)), axis=1)),
    )
    params, _ = flows.chain(squash, flows.actnorm()).init(jax.random.key(0), x)
    np.testing.assert_allclose(params[1]["mean"], np.arcsinh(VECTORS).mean(0), rtol=1e-12)
    np.testing.assert_allclose(params[1]["log_scale"], np.log(np.arcsinh(VECTORS).std(0)), rtol=1e-12)
    params, _ = flows.chain(flows.invert(flows.actnorm()), flows.actnorm()).init(jax.random.key(0), x)
    np.testing.assert_allclose(params[1]["log_scale"], 2 * np.log(VECTORS.std(0)), rtol=1e-12)
    params, _ = flows.stack(flows.actnorm(), 3).init(jax.random.key(0), x)
    np.testing.assert_allclose(params["mean"], [VECTORS.mean(0), np.zeros(3), np.zeros(3)], atol=1e-13)
    np.testing.assert_allclose(params["log_scale"], [np.log(VECTORS.std(0)), np.zeros(3), np.zeros(3)], atol=1e-13)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, np.inf, np.nan])
def test_a_channel_without_variance_is_named(constant):
    x = jnp.asarray(VECTORS, jnp.float32).at[:, 1].set(constant)
    with pytest.raises(ValueError, match=r"channel 1 of 3 has no finite positive variance.*dequantize"):
        flows.actnorm().init(jax.random.key(0), x)
    # Where the data cannot be seen, the channel is not hidden either: it alone is NaN, and so is every log_det.
    params, state = jax.jit(flows.actnorm().init)(jax.random.key(0), x)
    np.testing.assert_array_equal(np.isnan(params["log_scale"]), [False, True, False])
    assert np.isnan(flows.actnorm().forward(params, state, x)[1]).all()


def test_many_channels_are_cut_short_and_one_example_has_no_variance():
    with pytest.raises(ValueError, match=r"channel 0, 1, 2, 3, 4, 5, 6, 7, … of 9 .* initialize on more examples"):
        flows.actnorm().init(jax.random.key(0), jnp.arange(9.0).reshape(1, 9))


def test_a_floor_is_explicit(x64):
    x = jnp.asarray(VECTORS).at[:, 1].set(0.1)
    params, state = flows.actnorm(floor=0.5).init(jax.random.key(0), x)
    expected = [np.log(VECTORS[:, 0].std()), np.log(0.5), np.log(0.5)]
    np.testing.assert_allclose(params["log_scale"], expected, rtol=1e-12)
    np.testing.assert_allclose(flows.actnorm().forward(params, state, x)[0][:, 1], np.zeros(6), atol=1e-15)
    for floor in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="floor must be a finite number > 0"):
            flows.actnorm(floor=floor)
