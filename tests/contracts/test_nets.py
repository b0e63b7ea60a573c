"""Every shipped network keeps the contract of `Net`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from vifx import networks
from vifx.core.nets import as_net, in_precision

IMAGE = (8, 8, 1)


def image(examples, dtype=np.uint8):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (examples, *IMAGE)).astype(dtype))


def code(examples):
    return jnp.asarray(np.random.default_rng(1).normal(size=(examples, 4)).astype(np.float32))


def sequence(examples):
    return jnp.asarray(np.random.default_rng(3).normal(size=(examples, 7, 3)).astype(np.float32))


def label(examples):
    return jnp.asarray(np.random.default_rng(2).integers(0, 3, examples).astype(np.int32))


def noisy(examples):
    return jnp.asarray(np.random.default_rng(4).normal(size=(examples, *IMAGE)).astype(np.float32))


def tokens(examples):
    return jnp.asarray(np.random.default_rng(6).integers(0, 6, (examples, 2, 3)).astype(np.int32))


def code_map(examples):
    return jnp.asarray(np.random.default_rng(6).normal(size=(examples, 4, 4, 3)).astype(np.float32))


def symbols(examples):
    return jnp.asarray(np.random.default_rng(7).integers(0, 3, (examples, 4)).astype(np.int32))


def level(examples):
    return jnp.asarray(np.random.default_rng(5).random((examples, 1)).astype(np.float32))


MLP = networks.MLP((16,))
CASES = {
    "normal": (networks.Conditional(MLP, networks.DiagonalNormal((4,)), (networks.Pixels(),)), (image,)),
    "fixed scale": (networks.Conditional(MLP, networks.NormalFixedScale(IMAGE, 0.5)), (code,)),
    "global scale": (networks.Conditional(MLP, networks.NormalGlobalScale(IMAGE)), (code,)),
    "bernoulli": (networks.Conditional(MLP, networks.BernoulliHead(IMAGE)), (code,)),
    "categorical": (networks.Conditional(MLP, networks.CategoricalHead(3), (networks.Pixels(),)), (image,)),
    "logistic": (networks.Conditional(MLP, networks.DiscretizedLogisticHead(IMAGE)), (code,)),
    "mixture": (networks.Conditional(MLP, networks.MixtureOfLogisticsHead(IMAGE, 2)), (code,)),
    "two parents": (
        networks.Conditional(MLP, networks.BernoulliHead(IMAGE), (None, networks.OneHot(3))),
        (code, label),
    ),
    "batch norm and dropout": (
        networks.Conditional(networks.MLP((16,), norm="batch", dropout=0.3), networks.DiagonalNormal((4,)), (None,)),
        (code,),
    ),
    "layer norm": (networks.Conditional(networks.MLP((16,), norm="layer"), networks.DiagonalNormal((4,))), (code,)),
    "convolutional encoder": (
        networks.Conditional(networks.ConvEncoder((4, 8)), networks.DiagonalNormal((4,)), (networks.Pixels(),)),
        (image,),
    ),
    "convolutional decoder": (
        networks.Conditional(networks.ConvDecoder((8, 8), (8, 4)), networks.BernoulliHead(IMAGE)),
        (code,),
    ),
    "residual encoder": (
        networks.Conditional(
            networks.ResidualEncoder((4, 8), norm="batch"), networks.DiagonalNormal((4,)), (networks.Pixels(),)
        ),
        (image,),
    ),
    "residual decoder": (
        networks.Conditional(networks.ResidualDecoder((8, 8), (8, 4)), networks.BernoulliHead(IMAGE)),
        (code,),
    ),
    "gated stack": (
        networks.Conditional(networks.GatedStack(4, (1, 2), noise=0.1), networks.BernoulliHead((7, 2))),
        (sequence,),
    ),
    "gated stack with dropout": (
        networks.Conditional(networks.GatedStack(4, (1,), dropout=0.2), networks.BernoulliHead((7, 2))),
        (sequence,),
    ),
    "code encoder": (networks.MapEncoder((4,), 3, inputs=(networks.Pixels(),)), (image,)),
    "code decoder": (networks.Conditional(networks.MapDecoder((4,)), networks.BernoulliHead(IMAGE)), (code_map,)),
    "masked grid": (networks.MaskedGrid(3, (2, 2), features=4, depth=2), (symbols, code)),
    "generator": (networks.DCGANGenerator((8, 8), (8, 4)), (code,)),
    "residual generator": (networks.SNResNetGenerator((8, 8), (8, 4)), (code,)),
    "denoiser": (networks.PointDenoiser((16, 16), times=4), (code, level, code)),
    "denoiser of images": (networks.UNet((4, 8), heads=2), (noisy, level)),
    "denoiser of images with classes": (
        networks.UNet((4, 8), heads=2, classes=3, waves=(1.5,), patch=2),
        (noisy, level, label, level),
    ),
    "denoiser of tokens": (networks.Transformer(5, 8, 1, 2), (tokens, level)),
    "denoiser of tokens with labels": (
        networks.Transformer(5, 8, 1, 2, positions="rotary", labels=3, dropout=0.1),
        (tokens, level, label, level),
    ),
    "critic": (networks.DCGANCritic((4, 8), inputs=(networks.Pixels(),)), (image,)),
    "residual critic": (networks.SNResNetCritic((4, 8), 1, inputs=(networks.Pixels(),)), (image,)),
    "projection critic": (
        networks.ProjectionCritic(networks.DCGANFeatures((4, 8)), 3, inputs=(networks.Pixels(),)),
        (image, label),
    ),
    "pair critic": (
        networks.PairCritic(networks.DCGANFeatures((4, 8)), MLP, (8,), inputs=(networks.Pixels(), None)),
        (image, code),
    ),
    "critic of any vector": (networks.Critic(MLP, inputs=(networks.FourierFeatures(8),)), (code,)),
}
IMAGES = ("generator", "denoiser of images")
SHAPES = {name: (8, 8, 1) for name in CASES if any(each in name for each in IMAGES)} | {"denoiser": (4,)}
SHAPES |= {name: (2, 3, 5) for name in CASES if "tokens" in name}
SHAPES |= {"code encoder": (4, 4, 3), "masked grid": (4, 3)}
SHAPES |= {name: () for name in CASES if "critic" in name}
EXAMPLES = 6


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


@pytest.mark.first(2)
@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    module, parents = CASES[name]
    assert isinstance(module, linen.Module)
    net = as_net(module)
    inputs = tuple(parent(EXAMPLES) for parent in parents)
    init = jax.jit(net.init)
    params, state = init(jax.random.key(0), *inputs)

    # Initialization is a function of the key, and does not depend on the values or the number of examples.
    assert same((params, state), init(jax.random.key(0), *inputs))
    for one, other in zip(
        leaves(params), leaves(net.init(jax.random.key(0), *(parent(2) for parent in parents))[0]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)  # compiled and not
    assert not same(params, init(jax.random.key(1), *inputs)[0])
    assert all(leaf.dtype == np.float32 for leaf in leaves(params))

    # Evaluation is pure, keeps the state, needs no key and treats each example by itself.
    apply = jax.jit(net.apply, static_argnames="train")
    output, after = apply(params, state, *inputs)
    assert same(state, after)
    one, _ = apply(params, state, *(x[2:3] for x in inputs))
    for whole, part in zip(leaves(output), leaves(one), strict=True):
        if whole.shape[:1] == (EXAMPLES,):
            np.testing.assert_allclose(part[0], whole[2], rtol=2e-4, atol=2e-5)
    assert (output.shape if name in SHAPES else output.batch_shape) == (EXAMPLES, *SHAPES.get(name, ()))

    # Training mode is a function of the key alone, and keeps the structure of the state.
    trained, new = apply(params, state, *inputs, key=jax.random.key(3), train=True)
    again, _ = apply(params, state, *inputs, key=jax.random.key(3), train=True)
    assert same(trained, again)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    if state and "frequencies" not in state:
        assert not same(new, state)
    if name in SHAPES:
        assert np.isfinite(output).all()
        if "denoiser" in name:  # whose last layer is zero at first
            params = jax.tree.map(lambda leaf: leaf + 0.1, params)
            output, _ = apply(params, state, *inputs)
        assert np.std(output, axis=0).max() > 0
        return

    # The output is a distribution whose samples it gives a finite log-density per example.
    sample = output.sample(jax.random.key(4), ())
    log_prob = np.asarray(output.log_prob(sample))
    assert log_prob.shape == (EXAMPLES,)
    assert np.isfinite(log_prob).all()


@pytest.mark.first(1)
@pytest.mark.parametrize("name", ["normal", "bernoulli", "convolutional encoder", "convolutional decoder"])
def test_lower_precision_stays_close(name):
    module, parents = CASES[name]
    net, low = as_net(module), in_precision(module, "bfloat16")
    inputs = tuple(parent(EXAMPLES) for parent in parents)
    params, state = net.init(jax.random.key(0), *inputs)
    # Under strict promotion nothing inside can have gone back to single precision.
    exact, _ = jax.jit(net.apply)(params, state, *inputs)
    output, _ = jax.jit(low.apply)(params, state, *inputs)
    for a, b in zip(leaves(exact), leaves(output), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=0.05, atol=0.05)
    assert not same(exact, output)
