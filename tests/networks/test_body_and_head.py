"""Input layers, and a conditional composed of inputs, body and head."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from vifx.networks import (
    MLP,
    BernoulliHead,
    Conditional,
    ConvDecoder,
    ConvEncoder,
    DiagonalNormal,
    DiscretizedLogisticHead,
    OneHot,
    Pixels,
)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_pixels_span_minus_one_to_one(dtype):
    x = Pixels()(jnp.array([[0, 51, 255]], dtype))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, [[-1.0, -0.6, 1.0]], rtol=1e-6)
    with pytest.raises(TypeError, match=r"Pixels expects integers 0\.\.255, but got dtype float32"):
        Pixels()(x)


def test_one_hot_encodes_labels_and_passes_weights():
    labels = OneHot(3)(jnp.array([2, 0]))
    np.testing.assert_array_equal(labels, [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(OneHot(3)(labels), labels)
    with pytest.raises(ValueError, match=r"weights over 4 classes, but got dtype float32 and shape \(2, 3\)"):
        OneHot(4)(labels)


@pytest.mark.thorough
def test_conditional_is_the_composition():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), jnp.float32)
    y = jnp.array([0, 1, 2, 1, 0])
    net = Conditional(MLP((7,)), BernoulliHead((4,)), inputs=(None, OneHot(3)))
    variables = net.init(jax.random.key(0), z, y)
    params = jax.tree.map(np.asarray, variables["params"])
    h = np.concatenate([z, np.eye(3)[np.asarray(y)]], axis=1)
    h = np.maximum(h @ params["body"]["Dense_0"]["kernel"] + params["body"]["Dense_0"]["bias"], 0)
    logits = h @ params["head"]["Dense_0"]["kernel"] + params["head"]["Dense_0"]["bias"]
    value = np.random.default_rng(1).integers(0, 2, (5, 4))
    expected = scipy.special.log_expit(np.where(value, logits, -logits)).sum(1)
    np.testing.assert_allclose(net.apply(variables, z, y).log_prob(jnp.asarray(value)), expected, rtol=1e-4)


def test_train_reaches_the_body():
    x = jnp.ones((100, 3))
    net = Conditional(MLP((20,), dropout=0.5), DiagonalNormal((2,)))
    variables = net.init(jax.random.key(0), x)
    np.testing.assert_allclose(np.ptp(net.apply(variables, x).mean, axis=0), 0.0, atol=1e-6)
    noisy = net.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)}).mean
    assert np.all(np.ptp(noisy, axis=0) > 0)


def test_inputs_must_match_the_parents():
    net = Conditional(MLP((4,)), DiagonalNormal((2,)), inputs=(Pixels(),))
    with pytest.raises(ValueError, match="one entry per parent, but has 1 for 2 parents"):
        net.init(jax.random.key(0), jnp.zeros((2, 3), jnp.uint8), jnp.zeros((2, 3)))


@pytest.mark.thorough
def test_an_8_bit_convolutional_autoencoder_learns():
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.where(rng.random((16, 1, 1, 1)) < 0.5, 40, 220) + rng.integers(0, 9, (16, 8, 8, 1)), jnp.uint8)
    encoder = Conditional(ConvEncoder((4,)), DiagonalNormal((2,)), inputs=(Pixels(),))
    decoder = Conditional(ConvDecoder((8, 8), (4,)), DiscretizedLogisticHead((8, 8, 1)))
    params = {
        "encoder": jax.jit(encoder.init)(jax.random.key(0), x),
        "decoder": jax.jit(decoder.init)(jax.random.key(1), jnp.zeros((16, 2))),
    }

    def loss(params):
        z = encoder.apply(params["encoder"], x).mean
        return -decoder.apply(params["decoder"], z).log_prob(x).mean() / 64

    optimizer = optax.adam(3e-2)

    def descend(carry, _):
        params, slot = carry
        value, slope = jax.jit(jax.value_and_grad(loss))(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, slot = optimizer.update(slope, slot, params)
        return (optax.apply_updates(params, updates), slot), value

    scan = jax.jit(lambda carry: jax.lax.scan(descend, carry, None, length=600)[1])
    values = scan((params, optimizer.init(params)))
    assert values[0] > np.log(256) - 1
    assert values[-50:].mean() < np.log(9) + 0.5, "two groups of images, each uniform over nine values"


@pytest.mark.first(1)  # XLA compiles float16 only for instruction sets that have it
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_pixels_in_half_precision_are_the_same_up_to_rounding(dtype):
    pixels = jnp.arange(256, dtype=jnp.uint8)
    low = Pixels()(pixels.astype(dtype))
    assert low.dtype == dtype
    np.testing.assert_allclose(low.astype(jnp.float32), Pixels()(pixels), rtol=float(jnp.finfo(dtype).eps))
