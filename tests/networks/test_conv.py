"""Convolutional encoders and decoders: what they compute, where they look, and their modes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vifx.networks import ConvDecoder, ConvEncoder, ResidualBlock, ResidualDecoder, ResidualEncoder

LAYOUT = ("NHWC", "HWIO", "NHWC")
ENCODERS = [ConvEncoder((3,)), ResidualEncoder((3,))]
DECODERS = [ConvDecoder((4, 4), (3,)), ResidualDecoder((4, 4), (3,))]


def image(size, channels=1):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, channels)), jnp.float32)


def test_encoder_is_strided_convolutions():
    x, y = image((7, 8)), image((1, 3))
    net = ConvEncoder((4, 6))
    variables = jax.jit(net.init)(jax.random.key(0), x, y)
    h = x
    for index in range(2):
        layer = variables["params"][f"Conv_{index}"]
        h = lax.conv_general_dilated(h, layer["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT)
        h = jax.nn.relu(h + layer["bias"][None, None, None])
    expected = np.concatenate([h.reshape(2, -1), y.reshape(2, -1)], axis=1)
    np.testing.assert_allclose(jax.jit(net.apply)(variables, x, y), expected, rtol=1e-4, atol=1e-5)


def test_decoder_is_transposed_convolutions():
    z, y = image((1, 3)), image((1, 2))
    net = ConvDecoder((8, 12), (6, 4))
    variables = jax.jit(net.init)(jax.random.key(0), z, y)
    params = variables["params"]
    h = np.concatenate([z.reshape(2, -1), y.reshape(2, -1)], axis=1) @ np.asarray(params["Dense_0"]["kernel"])
    h = jax.nn.relu(jnp.asarray(h + np.asarray(params["Dense_0"]["bias"])).reshape(2, 2, 3, 6))
    for index in range(2):
        layer = params[f"ConvTranspose_{index}"]
        h = lax.conv_transpose(h, layer["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT)
        h = jax.nn.relu(h + layer["bias"][None, None, None])
    np.testing.assert_allclose(jax.jit(net.apply)(variables, z, y), h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [8, 28, 32])
def test_round_trip_of_the_usual_sizes(size):
    x = image((size, size), 3)
    for encoder, decoder in [
        (ConvEncoder((2, 3)), ConvDecoder((size, size), (3, 2))),
        (ResidualEncoder((2, 3)), ResidualDecoder((size, size), (3, 2))),
    ]:
        features = jax.eval_shape(lambda x, net=encoder: net.init_with_output(jax.random.key(0), x)[0], x)
        assert features.shape == (2, (size // 4) ** 2 * 3)
        maps = jax.eval_shape(lambda h, net=decoder: net.init_with_output(jax.random.key(0), h)[0], features)
        assert maps.shape == (2, size, size, 2)


@pytest.mark.parametrize("resample", [None, "down", "up"])
def test_a_new_residual_block_is_its_shortcut(resample):
    x = image((4, 6), 3)
    block = ResidualBlock(3, resample, norm="layer")
    y, variables = jax.jit(block.init_with_output)(jax.random.key(0), x)
    expected = {
        None: np.asarray(x),
        "down": np.asarray(x).reshape(2, 2, 2, 3, 2, 3).mean((2, 4)),
        "up": np.kron(np.asarray(x), np.ones((1, 2, 2, 1))),
    }[resample]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert set(variables["params"]) == {"Conv_0", "Conv_1", "LayerNorm_0", "LayerNorm_1"}


def test_residual_block_adds_the_branch():
    x = image((4, 4), 2)
    block = ResidualBlock(3)
    params = jax.jit(block.init)(jax.random.key(0), x)["params"]
    params["Conv_1"]["kernel"] = jax.random.normal(jax.random.key(1), params["Conv_1"]["kernel"].shape)

    def convolution(h, layer):
        h = lax.conv_general_dilated(h, layer["kernel"], (1, 1), "SAME", dimension_numbers=LAYOUT)
        return h + layer["bias"][None, None, None]

    branch = convolution(jax.nn.relu(convolution(jax.nn.relu(x), params["Conv_0"])), params["Conv_1"])
    shortcut = x @ params["Conv_2"]["kernel"][0, 0]
    np.testing.assert_allclose(jax.jit(block.apply)({"params": params}, x), shortcut + branch, rtol=1e-4, atol=1e-5)


@pytest.mark.first(1)
@pytest.mark.parametrize("net", [*ENCODERS, *DECODERS], ids=lambda net: type(net).__name__)
def test_gradients_reach_every_parameter_once_branches_are_open(net):
    x = image((4, 4)) if net in ENCODERS else image((1, 5))
    params = jax.jit(net.init)(jax.random.key(0), x)
    noise = jax.random.normal(jax.random.key(1), (64,))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.resize(noise, leaf.shape), params)
    slopes = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(net.apply(params, x)))))(params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.all(np.isfinite(slope)), path
        assert np.any(np.asarray(slope) != 0), path


@pytest.mark.first(1)
@pytest.mark.parametrize("net", [*ENCODERS, *DECODERS], ids=lambda net: type(net).__name__)
def test_batch_norm_honours_train(net):
    net = net.clone(norm="batch")
    is_encoder = isinstance(net, ConvEncoder | ResidualEncoder)
    x = image((4, 4)) if is_encoder else image((1, 5))
    variables = jax.jit(net.init)(jax.random.key(0), x)

    @partial(jax.jit, static_argnames="train")
    def outputs(x, *, train):
        return net.apply(variables, x, train=train, mutable=["batch_stats"])[0]

    shifted = x.at[1].add(1.0)
    np.testing.assert_array_equal(outputs(x, train=False)[0], outputs(shifted, train=False)[0])
    assert np.any(np.asarray(outputs(x, train=True)[0]) != np.asarray(outputs(shifted, train=True)[0]))


def test_misfits_are_named():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"size \(28, 28\) must be divisible by .* = 8"):
        ConvDecoder((28, 28), (8, 8, 8)).init(key, jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"first parent must be images .* shape \(2, 64\)"):
        ConvEncoder().init(key, jnp.zeros((2, 64)))
    with pytest.raises(TypeError, match=r"parent 0 has dtype uint8.*Pixels\(\)"):
        ConvEncoder().init(key, jnp.zeros((2, 8, 8, 1), jnp.uint8))
    with pytest.raises(ValueError, match="7×7 pixels cannot be halved"):
        ResidualEncoder((2, 2, 2)).init(key, jnp.zeros((2, 28, 28, 1)))
    with pytest.raises(ValueError, match="resample must be None, 'down' or 'up', got 'half'"):
        ResidualBlock(2, "half").init(key, jnp.zeros((2, 4, 4, 1)))
