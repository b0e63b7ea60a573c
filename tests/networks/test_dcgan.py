"""DCGAN generators and critics against chains of XLA's convolutions and NumPy's normalization."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vifx.networks import DCGANCritic, DCGANFeatures, DCGANGenerator, OneHot, Pixels

LAYOUT = ("NHWC", "HWIO", "NHWC")


def noise(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def spread(tree):
    """Parameters of order one, all different, so that no layer hides another."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(7)
    moved = [np.asarray(leaf) + rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in moved])


def upward(h, layer):
    y = lax.conv_transpose(h, layer["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT)
    return y + layer["bias"][None, None, None] if "bias" in layer else y


def downward(h, layer):
    y = lax.conv_general_dilated(h, layer["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT)
    return y + layer["bias"][None, None, None] if "bias" in layer else y


def normalized(h, layer, mean, variance):
    h = (np.asarray(h) - mean) / np.sqrt(variance + 1e-5)
    return jnp.asarray(h * np.asarray(layer["scale"]) + np.asarray(layer["bias"]))


def statistics(h):
    h = np.asarray(h, np.float64)
    return h.mean((0, 1, 2)).astype(np.float32), h.var((0, 1, 2)).astype(np.float32)


def test_generator_without_norm_is_transposed_convolutions():
    z, y = noise(3, 5), jnp.array([0, 2, 1])
    net = DCGANGenerator((8, 12), (6, 4), outputs=2, norm=None, activation=jnp.sin, inputs=(None, OneHot(3)))
    params = spread(jax.jit(net.init)(jax.random.key(0), z, y)["params"])
    h = np.concatenate([z, np.eye(3, dtype=np.float32)[np.asarray(y)]], axis=1) @ np.asarray(
        params["Dense_0"]["kernel"]
    )
    h = jnp.sin(jnp.asarray(h + np.asarray(params["Dense_0"]["bias"])).reshape(3, 2, 3, 6))
    h = jnp.sin(upward(h, params["ConvTranspose_0"]))
    expected = np.tanh(upward(h, params["ConvTranspose_1"]))
    np.testing.assert_allclose(jax.jit(net.apply)({"params": params}, z, y), expected, rtol=1e-4, atol=1e-5)


def test_generator_normalizes_each_layer_but_the_last():
    z = noise(4, 5)
    net = DCGANGenerator((8, 8), (3, 2))
    variables = jax.jit(net.init)(jax.random.key(0), z)
    params = spread(variables["params"])
    apply = jax.jit(partial(net.apply, mutable=["batch_stats"]), static_argnames="train")

    def chain(of):
        """The images, and each layer's mean and variance, by `of(index, batch's own statistics)`."""
        h = jnp.asarray(np.asarray(z) @ np.asarray(params["Dense_0"]["kernel"])).reshape(4, 2, 2, 3)
        own = []
        for index in range(2):
            own.append(statistics(h))
            h = jax.nn.relu(normalized(h, params[f"BatchNorm_{index}"], *of(index, own[-1])))
            h = upward(h, params[f"ConvTranspose_{index}"])
        return np.tanh(h), own

    expected, own = chain(lambda _, batch: batch)
    trained, written = apply({**variables, "params": params}, z, train=True)
    np.testing.assert_allclose(trained, expected, rtol=1e-3, atol=1e-4)
    for index, (mean, variance) in enumerate(own):
        running = written["batch_stats"][f"BatchNorm_{index}"]
        np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(running["var"], 0.9 + 0.1 * variance, rtol=1e-3, atol=1e-5)

    names = [written["batch_stats"][f"BatchNorm_{index}"] for index in range(2)]
    expected, _ = chain(lambda index, _: (np.asarray(names[index]["mean"]), np.asarray(names[index]["var"])))
    evaluated, kept = apply({"params": params, **written}, z, train=False)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(kept["batch_stats"]["BatchNorm_1"]["var"], names[1]["var"])
    assert "bias" not in params["Dense_0"]
    assert "bias" not in params["ConvTranspose_0"]


def test_features_are_strided_convolutions_and_the_critic_a_logit_of_them():
    x = noise(3, 7, 8, 2)
    net = DCGANCritic((4, 5), leak=0.3)
    params = spread(jax.jit(net.init)(jax.random.key(0), x)["params"])
    h = x
    for index in range(2):
        h = downward(h, params["DCGANFeatures_0"][f"Conv_{index}"])
        h = jnp.where(h > 0, h, 0.3 * h)
    features = np.asarray(h).reshape(3, -1)
    expected = features @ np.asarray(params["Dense_0"]["kernel"])[:, 0] + np.asarray(params["Dense_0"]["bias"])
    logits = jax.jit(net.apply)({"params": params}, x)
    assert logits.shape == (3,)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_critic_normalizes_from_the_second_layer_on():
    x = noise(4, 8, 8, 1)
    net = DCGANFeatures((3, 2), norm="batch")
    variables = jax.jit(net.init)(jax.random.key(0), x)
    params = spread(variables["params"])
    h = downward(x, params["Conv_0"])
    h = downward(jnp.where(h > 0, h, 0.2 * h), params["Conv_1"])
    h = normalized(h, params["BatchNorm_0"], *statistics(h))
    expected = np.where(h > 0, h, 0.2 * h).reshape(4, -1)
    features, _ = net.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
    assert set(params) == {"Conv_0", "Conv_1", "BatchNorm_0"}


def test_further_parents_of_the_critic_are_channels():
    pixels = jnp.asarray(np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1)), jnp.uint8)
    y = jnp.array([1, 0, 1])
    conditional = DCGANCritic((3,), inputs=(Pixels(), OneHot(2)))
    params = spread(jax.jit(conditional.init)(jax.random.key(0), pixels, y)["params"])
    maps = np.broadcast_to(np.eye(2)[np.asarray(y)][:, None, None], (3, 4, 4, 2))
    joined = jnp.asarray(np.concatenate([np.asarray(pixels) / 127.5 - 1, maps], axis=-1), jnp.float32)
    expected = DCGANCritic((3,)).apply({"params": params}, joined)
    np.testing.assert_allclose(conditional.apply({"params": params}, pixels, y), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.first(1)
@pytest.mark.parametrize(("size", "channels"), [(8, (64, 32)), (28, (128, 64)), (32, (8, 8, 8)), (64, (8, 8, 8, 8))])
def test_the_usual_sizes_start_with_small_kernels(size, channels):
    z = noise(2, 16)
    variables = jax.jit(DCGANGenerator((size, size), channels).init)(jax.random.key(0), z)
    params, small = variables["params"], size // 2 ** len(channels)
    assert params["Dense_0"]["kernel"].shape == (16, small**2 * channels[0])
    np.testing.assert_allclose(np.std(params["Dense_0"]["kernel"]), 0.02, rtol=0.1)
    images = jax.eval_shape(DCGANGenerator((size, size), channels).apply, variables, z)
    assert images.shape == (2, size, size, 1)


def test_kernels_and_scales_are_drawn_as_published():
    params = jax.jit(DCGANGenerator().init)(jax.random.key(0), noise(2, 100))["params"]
    for name in ("Dense_0", "ConvTranspose_0", "ConvTranspose_1"):
        kernel = np.asarray(params[name]["kernel"])
        np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.02], rtol=0.05, atol=2e-3)
    scale = np.asarray(params["BatchNorm_0"]["scale"])
    np.testing.assert_allclose(scale.mean(), 1, atol=5 * 0.02 / np.sqrt(128))
    np.testing.assert_allclose(scale.std(), 0.02, rtol=0.25)
    critic = jax.jit(DCGANCritic().init)(jax.random.key(0), noise(2, 28, 28, 1))["params"]
    np.testing.assert_allclose(np.std(critic["DCGANFeatures_0"]["Conv_1"]["kernel"]), 0.02, rtol=0.02)
    np.testing.assert_allclose(np.std(critic["Dense_0"]["kernel"]), 0.02, rtol=0.05)


@pytest.mark.thorough
@pytest.mark.parametrize("norm", [None, "batch"])
def test_gradients_reach_every_parameter_of_both(norm):
    z = noise(4, 5)
    generator, critic = DCGANGenerator((8, 8), (4, 3), norm=norm), DCGANCritic((3, 4), norm=norm)
    made = jax.jit(generator.init)(jax.random.key(0), z)
    seen = jax.jit(critic.init)(jax.random.key(1), noise(4, 8, 8, 1))
    params = spread((made.pop("params"), seen.pop("params")))

    @jax.jit
    @jax.grad
    def slopes(params):
        images, _ = generator.apply({"params": params[0], **made}, z, train=True, mutable=["batch_stats"])
        logits, _ = critic.apply({"params": params[1], **seen}, images, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(logits))

    for path, slope in jax.tree_util.tree_leaves_with_path(slopes(params)):
        assert np.all(np.isfinite(slope)), path
        assert np.any(np.abs(slope) > 1e-7), path


def test_double_precision_stays_double(x64):
    z, labels = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3))), jnp.array([0, 1])
    generator, critic = DCGANGenerator((4, 4), (2,), norm=None), DCGANCritic((2,), inputs=(None, OneHot(2)))
    with jax.numpy_dtype_promotion("standard"):  # initial parameters are single
        made, images = jax.jit(generator.init)(jax.random.key(0), z), jnp.zeros((2, 4, 4, 1))
        seen = jax.jit(critic.init)(jax.random.key(1), images, labels)
    made, seen = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (made, seen))
    images = jax.jit(generator.apply)(made, z)
    judged = jax.jit(lambda z: critic.apply(seen, generator.apply(made, z), labels))
    logits = judged(z)
    assert images.dtype == logits.dtype == jnp.float64
    step = 1e-7 * z
    slope = jax.jvp(judged, (z,), (z,))[1]
    moved = judged(z + step)
    np.testing.assert_allclose((moved - logits) / 1e-7, slope, rtol=1e-4, atol=1e-9)


def test_misfits_are_named():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"size \(28, 28\) must be divisible by .* = 8"):
        DCGANGenerator((28, 28), (8, 8, 8)).init(key, noise(2, 3))
    with pytest.raises(ValueError, match="at least one entry of channels"):
        DCGANGenerator((28, 28), ()).init(key, noise(2, 3))
    with pytest.raises(TypeError, match=r"parent 1 has dtype int32.*inputs=.*OneHot"):
        DCGANGenerator((8, 8), (2, 2)).init(key, noise(2, 3), jnp.array([0, 1]))
    with pytest.raises(ValueError, match=r"first parent must be images .* shape \(2, 3\)"):
        DCGANCritic((2,)).init(key, noise(2, 3))
    with pytest.raises(TypeError, match=r"dtype uint8.*Pixels\(\)"):
        DCGANCritic((2,)).init(key, jnp.zeros((2, 4, 4, 1), jnp.uint8))
    with pytest.raises(ValueError, match=r"leak must be a number in \[0, 1\], got -0.2"):
        DCGANCritic(leak=-0.2)
    with pytest.raises(ValueError, match="inputs must have one entry per parent, but has 1 for 2"):
        DCGANCritic((2,), inputs=(Pixels(),)).init(key, noise(2, 4, 4, 1), noise(2, 3))
    with pytest.raises(ValueError, match="norm must be None, 'batch' or 'layer', got 'spectral'"):
        DCGANCritic((2, 2), norm="spectral").init(key, noise(2, 4, 4, 1))
