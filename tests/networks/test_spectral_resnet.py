"""Residual generators and critics for spectral normalization, against XLA's convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vifx.networks import Pixels, ResidualBlock, SNResNetCritic, SNResNetFeatures, SNResNetGenerator

LAYOUT = ("NHWC", "HWIO", "NHWC")


def noise(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def spread(tree):
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(7)
    return jax.tree.unflatten(
        structure, [leaf + jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32) for leaf in leaves]
    )


def convolution(h, layer):
    h = lax.conv_general_dilated(h, layer["kernel"], (1, 1), "SAME", dimension_numbers=LAYOUT)
    return h + layer["bias"][None, None, None] if "bias" in layer else h


def block(x, params, *, preactivate=True):
    h = convolution(jax.nn.relu(x) if preactivate else x, params["Conv_0"])
    h = convolution(jax.nn.relu(h), params["Conv_1"])
    return h + (convolution(x, params["Conv_2"]) if "Conv_2" in params else x)


def halved(h):
    n, height, width, channels = h.shape
    return h.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


@pytest.mark.thorough
def test_critic_is_residual_blocks_averages_and_a_sum():
    x = noise(2, 8, 4, 2)
    net = SNResNetCritic((3, 4), blocks=2)
    params = spread(jax.jit(net.init)(jax.random.key(0), x)["params"])
    inner = params["SNResNetFeatures_0"]
    h = halved(block(x, inner["ResidualBlock_0"], preactivate=False))
    h = halved(block(h, inner["ResidualBlock_1"]))
    h = block(block(h, inner["ResidualBlock_2"]), inner["ResidualBlock_3"])
    features = np.asarray(jax.nn.relu(h)).sum((1, 2))
    expected = features @ np.asarray(params["Dense_0"]["kernel"])[:, 0] + np.asarray(params["Dense_0"]["bias"])
    logits = jax.jit(net.apply)({"params": params}, x)
    assert logits.shape == (2,)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_generator_doubles_by_residual_blocks():
    z = noise(2, 3)
    net = SNResNetGenerator((8, 4), (4, 3), outputs=2, norm=None)
    params = spread(jax.jit(net.init)(jax.random.key(0), z)["params"])
    h = np.asarray(z) @ np.asarray(params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"])
    h = jnp.asarray(h).reshape(2, 2, 1, 4)
    for index in range(2):
        inner = params[f"ResidualBlock_{index}"]
        up = jnp.asarray(np.kron(np.asarray(jax.nn.relu(h)), np.ones((1, 2, 2, 1), np.float32)))
        branch = convolution(jax.nn.relu(convolution(up, inner["Conv_0"])), inner["Conv_1"])
        shortcut = jnp.asarray(np.kron(np.asarray(h), np.ones((1, 2, 2, 1), np.float32)))
        h = branch + (convolution(shortcut, inner["Conv_2"]) if "Conv_2" in inner else shortcut)
    expected = np.tanh(convolution(jax.nn.relu(h), params["Conv_0"]))
    np.testing.assert_allclose(jax.jit(net.apply)({"params": params}, z), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
def test_batch_norm_of_the_generator_honours_train():
    z = noise(4, 3)
    net = SNResNetGenerator((4, 4), (3,))
    variables = jax.jit(net.init)(jax.random.key(0), z)
    trained, written = net.apply(variables, z, train=True, mutable=["batch_stats"])
    moved = z.at[1].add(1.0)
    other, _ = net.apply(variables, moved, train=True, mutable=["batch_stats"])
    assert np.any(np.asarray(trained[0]) != np.asarray(other[0]))
    np.testing.assert_array_equal(net.apply(variables, z)[0], net.apply(variables, moved)[0])
    params = variables["params"]
    h = np.asarray(z) @ np.asarray(params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"])
    running = written["batch_stats"]["ResidualBlock_0"]["BatchNorm_0"]
    h = h.reshape(4, 2, 2, 3)
    np.testing.assert_allclose(running["mean"], 0.1 * h.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * h.var((0, 1, 2)), rtol=1e-3, atol=1e-5)


def test_the_critic_is_kernels_and_biases_with_a_direction():
    x = noise(2, 8, 8, 1)
    variables = jax.jit(SNResNetCritic((4, 4)).init)(jax.random.key(0), x)
    assert set(variables) == {"params"}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        assert path[-1].key in ("kernel", "bias")
        if path[-1].key == "kernel":
            assert np.linalg.svd(np.asarray(leaf).reshape(-1, leaf.shape[-1]), compute_uv=False)[0] > 0.1, path


@pytest.mark.thorough
def test_block_reads_negative_pixels_and_opens_its_branch_on_request():
    x = noise(2, 4, 4, 1)
    net = ResidualBlock(3, preactivate=False, last_init=jax.nn.initializers.normal(0.5))
    params = spread(jax.jit(net.init)(jax.random.key(0), x)["params"])
    expected = block(x, params, preactivate=False)
    np.testing.assert_allclose(net.apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5)
    fresh = net.init(jax.random.key(0), jnp.zeros((1, 2, 2, 64)))["params"]
    assert np.std(net.clone(features=64).init(jax.random.key(0), x)["params"]["Conv_1"]["kernel"]) == pytest.approx(
        0.5, rel=0.02
    )
    assert "Conv_2" in fresh


@pytest.mark.thorough
def test_gradients_reach_every_parameter():
    z = noise(3, 5)
    generator, critic = SNResNetGenerator((4, 4), (3, 4)), SNResNetCritic((3, 4), blocks=1)
    made = jax.jit(generator.init)(jax.random.key(0), z)
    seen = jax.jit(critic.init)(jax.random.key(1), noise(3, 4, 4, 1))
    params = spread((made["params"], seen["params"]))

    @jax.jit
    @jax.grad
    def slopes(params):
        images = generator.apply({**made, "params": params[0]}, z)
        return jnp.sum(jnp.sin(critic.apply({"params": params[1]}, images)))

    for path, slope in jax.tree_util.tree_leaves_with_path(slopes(params)):
        assert np.all(np.isfinite(slope)), path
        assert np.any(np.asarray(slope) != 0), path


@pytest.mark.thorough
def test_bytes_enter_by_pixels_and_misfits_are_named():
    key = jax.random.key(0)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1)), jnp.uint8)
    net = SNResNetCritic((2,), blocks=0, inputs=(Pixels(),))
    variables = jax.jit(net.init)(key, x)
    floats = jnp.asarray(np.asarray(x) / 127.5 - 1, jnp.float32)
    np.testing.assert_allclose(
        net.apply(variables, x), net.clone(inputs=()).apply(variables, floats), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(TypeError, match=r"dtype uint8.*Pixels\(\)"):
        SNResNetFeatures((2,)).init(key, x)
    with pytest.raises(ValueError, match="7×7 pixels cannot be halved"):
        SNResNetCritic((2, 2, 2)).init(key, noise(2, 28, 28, 1))
    with pytest.raises(ValueError, match=r"size \(28, 28\) must be divisible by .* = 8"):
        SNResNetGenerator((28, 28), (2, 2, 2)).init(key, noise(2, 3))
