"""The perceptron against hand-written matrix products, in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import MLP


def data(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def dense(params, name, h):
    return h @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])


def test_is_affine_maps_and_nonlinearities_on_joined_parents():
    x, y = data(5, 2, 3), data(5)
    net = MLP((7, 4), outputs=2, activation=jnp.tanh)
    variables = net.init(jax.random.key(0), x, y)
    params = variables["params"]
    h = np.concatenate([x.reshape(5, 6), y.reshape(5, 1)], axis=1)
    h = np.tanh(dense(params, "Dense_1", np.tanh(dense(params, "Dense_0", h))))
    np.testing.assert_allclose(net.apply(variables, x, y), dense(params, "Dense_2", h), rtol=1e-5, atol=1e-6)
    assert "Dense_2" not in MLP((7, 4)).init(jax.random.key(0), x, y)["params"]


def test_batch_norm_uses_the_batch_in_training_and_running_statistics_otherwise():
    x = 3 + 2 * data(64, 3)
    net = MLP((4,), norm="batch", activation=lambda h: h)
    variables = net.init(jax.random.key(0), x)
    pre = dense(variables["params"], "Dense_0", x)
    mean, variance = pre.mean(0), pre.var(0)

    trained, written = net.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(trained, (pre - mean) / np.sqrt(variance + 1e-5), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(written["batch_stats"]["BatchNorm_0"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-5)

    evaluated = net.apply({**variables, **written}, x)
    running_mean, running_variance = 0.1 * mean, 0.9 + 0.1 * variance
    expected = (pre - running_mean) / np.sqrt(running_variance + 1e-5)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-3, atol=1e-4)


def test_layer_norm_normalizes_each_example():
    x = data(6, 3)
    net = MLP((8,), norm="layer", activation=lambda h: h)
    variables = net.init(jax.random.key(0), x)
    pre = dense(variables["params"], "Dense_0", x)
    expected = (pre - pre.mean(1, keepdims=True)) / np.sqrt(pre.var(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(net.apply(variables, x), expected, rtol=1e-3, atol=1e-4)


def test_dropout_zeroes_the_stated_share_in_training_alone():
    x = data(200, 3)
    net = MLP((50,), dropout=0.3, activation=jnp.exp)
    variables = net.init(jax.random.key(0), x)
    plain = np.asarray(net.apply(variables, x))
    np.testing.assert_allclose(plain, np.exp(dense(variables["params"], "Dense_0", x)), rtol=1e-4)
    dropped = np.asarray(net.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)}))
    zero = dropped == 0
    assert abs(zero.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / zero.size)
    np.testing.assert_allclose(dropped[~zero], plain[~zero] / 0.7, rtol=1e-4)


def test_integer_parents_and_unknown_norms_are_refused():
    with pytest.raises(TypeError, match=r"parent 1 has dtype int32.*OneHot\(classes\).*Pixels\(\)"):
        MLP((4,)).init(jax.random.key(0), jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="norm must be None, 'batch' or 'layer', got 'group'"):
        MLP((4,), norm="group").init(jax.random.key(0), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="at least one parent"):
        MLP((4,)).init(jax.random.key(0))
    with pytest.raises(ValueError, match="parent 0 must have an examples axis"):
        MLP((4,)).init(jax.random.key(0), jnp.zeros(()))
