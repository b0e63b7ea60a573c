"""Gated convolutions against their formula, position by position."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import GatedConv, GatedStack

LAYERS = [
    GatedConv(4),
    GatedConv(4, dilation=2, causal=True),
    GatedConv(5, width=2, dilation=3),
    GatedConv(3, width=5, dilation=2),
    GatedConv(4, width=1),
]


def sequences(length, channels=4, *, examples=3, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(examples, length, channels)).astype(dtype)


def parameters(module, x, scale=0.3):
    """Every number drawn, the biases too."""
    with jax.numpy_dtype_promotion("standard"):
        shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(1)
    drawn = [jnp.asarray(scale * rng.normal(size=leaf.shape), x.dtype) for leaf in leaves]
    return {"params": jax.tree.unflatten(structure, drawn)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(layer, params, x):
    """The two convolutions as sums over taps, in loops."""
    kernel, bias = (np.asarray(params["convolution"][name]) for name in ("kernel", "bias"))
    reach = layer.dilation * (layer.width - 1)
    before = reach if layer.causal else reach // 2
    both = np.zeros((*x.shape[:2], 2 * layer.features)) + bias
    for n, t, tap in itertools.product(range(x.shape[0]), range(x.shape[1]), range(layer.width)):
        source = t + tap * layer.dilation - before
        if 0 <= source < x.shape[1]:
            both[n, t] += x[n, source] @ kernel[0, tap]
    content, gate = both[..., : layer.features], sigmoid(both[..., layer.features :])
    if "projection" in params:
        x = x @ np.asarray(params["projection"]["kernel"]) + np.asarray(params["projection"]["bias"])
    return x * (1 - gate) + content * gate


@pytest.mark.parametrize("layer", LAYERS, ids=["plain", "causal", "projected", "wide", "of one tap"])
def test_layer_is_its_formula(x64, layer):
    x = jnp.asarray(sequences(9, dtype=np.float64))
    variables = parameters(layer, x)
    np.testing.assert_allclose(
        jax.jit(layer.apply)(variables, x), by_hand(layer, variables["params"], np.asarray(x)), atol=1e-12
    )


@pytest.mark.parametrize("layer", [GatedConv(4), GatedConv(4, dilation=2, causal=True)], ids=["centred", "causal"])
def test_gate_of_a_residual_convolution(x64, layer):
    """X (1 − σ) + C(X) σ = X + C′(X) σ, C′ = C minus the identity at the tap of the position itself."""
    x = jnp.asarray(sequences(7, dtype=np.float64))
    variables = parameters(layer, x)
    kernel = np.array(variables["params"]["convolution"]["kernel"])
    own = 2 if layer.causal else 1
    kernel[0, own, :, :4] -= np.eye(4)
    reduced = {"convolution": {**variables["params"]["convolution"], "kernel": kernel}}
    # by_hand(reduced) = X (1 − σ) + C′(X) σ, with the same σ, so that C′(X) σ is what is more than X (1 − σ).
    closed = {"convolution": {"kernel": np.zeros_like(kernel), "bias": np.zeros(8)}}
    closed["convolution"]["kernel"][..., 4:] = kernel[..., 4:]
    closed["convolution"]["bias"][4:] = np.asarray(variables["params"]["convolution"]["bias"])[4:]
    x = np.asarray(x)
    gated = by_hand(layer, reduced, x) - by_hand(layer, closed, x)
    np.testing.assert_allclose(layer.apply(variables, jnp.asarray(x)), x + gated, atol=1e-12)


@pytest.mark.thorough
def test_padding_holds_nothing():
    """Values and gradients are those of each sequence by itself, whatever stands behind its end."""
    stack = GatedStack(6, (1, 2, 4))
    x = jnp.asarray(sequences(12))
    variables, lengths = parameters(stack, x), np.array([12, 7, 1])
    mask = jnp.asarray(np.arange(12)[None] < lengths[:, None])
    soiled = jnp.where(mask[..., None], x, jnp.nan)

    @jax.jit
    def both(x, mask):
        y, pull = jax.vjp(lambda variables, x: stack.apply(variables, x, mask), variables, x)
        return y, pull(jnp.cos(y))

    y, (of_variables, of_x) = both(soiled, mask)
    clean, (again, _) = both(x, mask)
    for found, expected in zip(jax.tree.leaves((y, of_variables)), jax.tree.leaves((clean, again)), strict=True):
        np.testing.assert_array_equal(found, expected)
    for n, length in enumerate(lengths):
        alone = stack.apply(variables, x[n : n + 1, :length])
        np.testing.assert_allclose(y[n : n + 1, :length], alone, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y[n, length:], 0.0)
        np.testing.assert_array_equal(of_x[n, length:], 0.0)


@pytest.mark.thorough
@pytest.mark.parametrize(("examples", "features"), [(1, 64), (3, 48)])
def test_more_padding_changes_nothing(examples, features):
    """The same bits at every length: on CPUs the rows of all but tiny products do not depend on how many there are."""
    stack = GatedStack(features, (1, 2, 4))
    x = sequences(40, 32, examples=examples)
    variables, found = parameters(stack, jnp.asarray(x)), []
    apply = jax.jit(stack.apply)
    for length in (40, 41, 64, 100, 256):
        longer = np.zeros((examples, length, 32), np.float32)
        longer[:, :40] = x
        mask = jnp.broadcast_to(jnp.arange(length)[None] < 40, (examples, length))
        found.append(np.asarray(apply(variables, jnp.asarray(longer), mask))[:, :40])
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_what_an_output_sees():
    """A stack of dilations 1, 2, 4 sees 7 positions to each side, or 14 before it."""
    x = jnp.asarray(sequences(20, 2, examples=1))
    t, s = np.arange(20)[:, None], np.arange(20)[None]
    for causal, expected in ((False, abs(t - s) <= 7), (True, (s <= t) & (t - s <= 14))):
        stack = GatedStack(3, (1, 2, 4), causal=causal)
        variables = parameters(stack, x)
        slope = jax.jit(jax.jacobian(lambda x, stack=stack, variables=variables: stack.apply(variables, x)))(x)
        np.testing.assert_array_equal(np.abs(slope).sum((0, 2, 3, 5)) > 0, expected)


@pytest.mark.parametrize("features", [4, 5])
def test_without_a_gate_it_is_a_residual_rectifier(x64, features):
    layer = GatedConv(features, dilation=2, gated=False)
    x = jnp.asarray(sequences(9, dtype=np.float64))
    variables = parameters(layer, x)
    own = variables["params"]
    # The gate of the layer by hand is open, so that it returns the convolution alone.
    open_gate = {
        name: jnp.concatenate([leaf, jnp.zeros_like(leaf)], axis=-1) for name, leaf in own["convolution"].items()
    }
    open_gate["bias"] = open_gate["bias"].at[features:].set(1e3)
    content = by_hand(layer, {**own, "convolution": open_gate}, np.asarray(x))
    expected = (
        np.asarray(x) if features == 4 else x @ own["projection"]["kernel"] + own["projection"]["bias"][None, None]
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected + np.maximum(content, 0), atol=1e-12)
    stack = GatedStack(features, (2,), gated=False)
    np.testing.assert_array_equal(stack.apply({"params": {"GatedConv_0": own}}, x), layer.apply(variables, x))


def test_stack_is_its_layers():
    x = jnp.asarray(sequences(10, 2))
    stack = GatedStack(5, (1, 3), causal=True)
    variables, y = parameters(stack, x), x
    for n, dilation in enumerate((1, 3)):
        own = {"params": variables["params"][f"GatedConv_{n}"]}
        y = GatedConv(5, dilation=dilation, causal=True).apply(own, y)
    np.testing.assert_allclose(stack.apply(variables, x), y, rtol=1e-5, atol=1e-6)


def gate_of(layer, x, **arguments):
    """Return the gate's logits, of a layer without a content: Y = X (1 − σ)."""
    variables = parameters(layer, x, 0.5)
    kernel, bias = (variables["params"]["convolution"][name] for name in ("kernel", "bias"))
    empty = {"kernel": kernel.at[..., : layer.features].set(0), "bias": bias.at[: layer.features].set(0)}
    kept = np.asarray(layer.apply({"params": {"convolution": empty}}, x, **arguments), np.float64) / np.asarray(x)
    return -np.log(kept / (1 - kept))


def test_noise_of_the_gate_is_uniform_in_training(x64):
    x = jnp.asarray(sequences(200, dtype=np.float64))
    plain, rngs = gate_of(GatedConv(4), x), {"noise": jax.random.key(3)}
    noisy = GatedConv(4, noise=0.1)
    np.testing.assert_allclose(gate_of(noisy, x), plain, rtol=1e-9, atol=1e-9)
    share = gate_of(noisy, x, train=True, rngs=rngs) / plain - 1
    assert abs(share).max() < 0.1 + 1e-6
    for power in (1, 2, 3, 4):  # of 2400 draws: five standard errors
        expected = 0.1**power / (power + 1) * (power % 2 == 0)
        np.testing.assert_allclose(np.mean(share**power), expected, rtol=0, atol=5 * 0.1**power / np.sqrt(2400))


def test_dropout_of_the_gate_in_training(x64):
    x = jnp.asarray(sequences(200, dtype=np.float64))
    plain, rngs = gate_of(GatedConv(4), x), {"dropout": jax.random.key(3)}
    layer = GatedConv(4, dropout=0.2)
    np.testing.assert_allclose(gate_of(layer, x), plain, rtol=1e-9, atol=1e-9)
    share = gate_of(layer, x, train=True, rngs=rngs) / plain
    dropped = abs(share) < 1e-6
    np.testing.assert_allclose(share[~dropped], 1.25, rtol=1e-6)
    np.testing.assert_allclose(dropped.mean(), 0.2, atol=5 * 0.4 / np.sqrt(2400))


def test_misuse_is_named():
    x = jnp.zeros((2, 3, 4))
    for wrong in ({"features": 0}, {"features": 1, "width": 0}, {"features": 1, "dilation": 0}):
        with pytest.raises(ValueError, match=f"{list(wrong)[-1]} of a gated convolution must be an integer ≥ 1, got 0"):
            GatedConv(**wrong)
    with pytest.raises(ValueError, match=r"noise of a gated convolution must be a number in \[0, 1\), got 1"):
        GatedConv(1, noise=1)
    with pytest.raises(ValueError, match="dilations of a stack must have one entry a layer"):
        GatedStack(1, ())
    with pytest.raises(ValueError, match=r"x must be sequences of floats .* got int32\[2, 3\]; embed tokens"):
        GatedConv(1).init(jax.random.key(0), jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(ValueError, match=r"mask must be booleans \[2, 3\].* got float32\[2, 3\]"):
        GatedConv(1).init(jax.random.key(0), x, jnp.ones((2, 3)))
