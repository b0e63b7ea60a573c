"""The bodies of couplings of images against XLA's own convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vifx.networks import ConvConditioner, ZeroConv

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.standard_normal((3, 4, 5, 2)), jnp.float32)
CLASSES = jnp.asarray(np.eye(4)[[2, 0, 2]], jnp.float32)
VECTOR = jnp.asarray(RNG.standard_normal((3, 2)), jnp.float32)


def convolution(x, layer):
    y = lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + layer["bias"][None, None, None]


def moved(params):
    """Away from zero biases and branches."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


@pytest.mark.first(1)
@pytest.mark.parametrize("parents", [(), (CLASSES,), (CLASSES, VECTOR)], ids=["none", "classes", "two"])
def test_without_blocks(parents):
    net = ConvConditioner(6)
    params = moved(net.init(jax.random.key(0), IMAGES, *parents)["params"])
    h = convolution(IMAGES, params["Conv_0"])
    if parents:
        h = h + (jnp.concatenate(parents, axis=1) @ params["Parents"]["kernel"][0, 0])[:, None, None]
    expected = jax.nn.relu(convolution(jax.nn.relu(h), params["Conv_1"]))
    found = net.apply({"params": params}, IMAGES, *parents)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(params["Conv_1"]["kernel"].shape, (1, 1, 6, 6))


@pytest.mark.thorough
def test_with_blocks():
    net = ConvConditioner(6, blocks=2)
    params = net.init(jax.random.key(0), IMAGES, CLASSES)["params"]
    first = convolution(IMAGES, params["Conv_0"]) + (CLASSES @ params["Parents"]["kernel"][0, 0])[:, None, None]
    found = net.apply({"params": params}, IMAGES, CLASSES)
    np.testing.assert_allclose(found, jax.nn.relu(first), rtol=1e-4, atol=1e-5)
    params = moved(params)
    h = convolution(IMAGES, params["Conv_0"]) + (CLASSES @ params["Parents"]["kernel"][0, 0])[:, None, None]
    for block in range(2):
        branch = convolution(jax.nn.relu(h), params[f"Conv_{block + 1}"])
        h = h + convolution(jax.nn.relu(branch), params[f"ZeroConv_{block}"]["Conv_0"])
    found = net.apply({"params": params}, IMAGES, CLASSES)
    np.testing.assert_allclose(found, jax.nn.relu(h), rtol=1e-4, atol=1e-4)


def test_a_zero_convolution_starts_at_zero_and_learns():
    net = ZeroConv(4)
    params = net.init(jax.random.key(0), IMAGES)["params"]
    np.testing.assert_array_equal(net.apply({"params": params}, IMAGES), np.zeros((3, 4, 5, 4)))
    slopes = jax.grad(
        lambda params: jnp.sum(jnp.cos(jnp.arange(4.0)) * net.apply({"params": params}, IMAGES).sum((0, 1, 2)))
    )(params)
    assert np.all(np.asarray(slopes["Conv_0"]["kernel"]) != 0)
    params = moved(params)
    expected = convolution(IMAGES, params["Conv_0"])
    np.testing.assert_allclose(net.apply({"params": params}, IMAGES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ((VECTOR,), ValueError, "the first parent must be images"),
        ((IMAGES, jnp.array([2, 0, 2])), TypeError, "has dtype int32, but a network multiplies floats"),
    ],
)
def test_misfits_are_named(inputs, error, message):
    with pytest.raises(error, match=message):
        ConvConditioner(4).init(jax.random.key(0), *inputs)
