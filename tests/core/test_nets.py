"""Adapters: one network in three libraries gives one answer, in training and in evaluation."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import vifx
from vifx import Joint, evidence, factor, standard_normal
from vifx.core.nets import as_net, from_functions, from_linen, from_nnx, in_mode, in_precision, is_network
from vifx.core.types import Net
from vifx.distributions import Normal
from vifx.lipschitz import spectral_normalization
from vifx.networks import Conditional, Critic

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)


class LinenBody(linen.Module):
    rate: float = 0.5

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(linen.Dense(4)(x))
        return linen.Dropout(self.rate, deterministic=not train)(x)


class NnxBody(nnx.Module):
    def __init__(self, *, rngs, rate=0.5):
        self.dense = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.dense(x)))


NETS = {"linen": lambda: from_linen(LinenBody()), "nnx": lambda: from_nnx(NnxBody)}


def dense(params):
    """Kernel and bias of the dense layer, whichever library holds them."""
    layer = params.get("Dense_0", params.get("dense"))
    return np.asarray(layer["kernel"]), np.asarray(layer["bias"])


@pytest.mark.parametrize("library", NETS)
def test_batch_norm_and_dropout_in_both_modes(library):
    net = NETS[library]()
    params, state = net.init(jax.random.key(0), X)
    kernel, bias = dense(params)
    hidden = X @ kernel + bias
    running = hidden / np.sqrt(1 + 1e-5)
    output, same = net.apply(params, state, X)
    np.testing.assert_allclose(output, running, rtol=1e-5, atol=1e-5)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), state, same))

    output, new = net.apply(params, state, X, key=jax.random.key(1), train=True)
    normal = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    kept = np.asarray(output) != 0
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_allclose(output, np.where(kept, 2 * normal, 0), rtol=2e-4, atol=2e-4)
    means = [leaf for leaf in jax.tree.leaves(new) if np.allclose(leaf, 0.1 * hidden.mean(0), rtol=1e-5, atol=1e-5)]
    assert len(means) == 1
    other, _ = net.apply(params, state, X, key=jax.random.key(2), train=True)
    assert np.any((np.asarray(other) != 0) != kept)
    again, _ = net.apply(params, state, X, key=jax.random.key(1), train=True)
    np.testing.assert_array_equal(again, output)


def test_libraries_agree():
    linen_net, nnx_net = from_linen(LinenBody()), from_nnx(NnxBody)
    params, state = linen_net.init(jax.random.key(0), X)
    nnx_params, nnx_state = nnx_net.init(jax.random.key(5), X)
    moved = {**nnx_params, "dense": params["Dense_0"]}
    a, _ = linen_net.apply(params, state, X)
    b, _ = nnx_net.apply(moved, nnx_state, X)
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_nnx_constructor_draws_from_the_key_and_an_instance_keeps_its_values():
    net = from_nnx(NnxBody)
    one, two = net.init(jax.random.key(0), X)[0], net.init(jax.random.key(1), X)[0]
    assert not np.allclose(one["dense"]["kernel"], two["dense"]["kernel"])
    module = NnxBody(rngs=nnx.Rngs(jax.random.key(3)))
    params, state = as_net(module).init(jax.random.key(0), X)
    np.testing.assert_array_equal(params["dense"]["kernel"], module.dense.kernel[...])
    output, _ = as_net(module).apply(params, state, X)
    module.eval()
    np.testing.assert_allclose(output, module(X), rtol=1e-6, atol=1e-6)


def test_nnx_module_is_not_written_by_a_training_loss():
    module = NnxBody(rngs=nnx.Rngs(jax.random.key(3)))
    net = from_nnx(module)
    params, state = net.init(jax.random.key(0), X)
    before = np.asarray(module.norm.mean[...]).copy()

    def loss(params):
        output, new = net.apply(params, state, X, key=jax.random.key(1), train=True)
        return jnp.mean(output**2), new

    gradient, new = jax.jit(jax.grad(loss, has_aux=True))(params)
    np.testing.assert_array_equal(module.norm.mean[...], before)
    assert float(jnp.max(jnp.abs(gradient["norm"]["scale"]))) > 0
    assert not np.allclose(new["norm"]["mean"], state["norm"]["mean"])


class Modes(linen.Module):
    """The body under test in Flax's own words."""

    @linen.compact
    def __call__(self, x, *, deterministic, use_running_average):
        x = linen.BatchNorm(use_running_average=use_running_average, momentum=0.9)(linen.Dense(4)(x))
        return linen.Dropout(0.5)(x, deterministic=deterministic)


class OneWord(linen.Module):
    @linen.compact
    def __call__(self, x, is_training):
        return LinenBody()(x, train=is_training)


class Attribute(linen.Module):
    training: bool | None = None

    @linen.compact
    def __call__(self, x):
        return LinenBody()(x, train=self.training)


class Merged(linen.Module):
    """Flax's idiom: an attribute or an argument, not both."""

    deterministic: bool | None = False

    @linen.compact
    def __call__(self, x, deterministic=None):
        deterministic = linen.merge_param("deterministic", self.deterministic, deterministic)
        return LinenBody()(x, train=not deterministic)


class NnxArgument(nnx.Module):
    def __init__(self, *, rngs):
        self.body = NnxBody(rngs=rngs)

    def __call__(self, x, *, deterministic):
        x = self.body.norm(self.body.dense(x), use_running_average=deterministic)
        return self.body.dropout(x, deterministic=deterministic)


class NnxAttribute(nnx.Module):
    def __init__(self, *, rngs):
        self.train = True  # which hides the method
        self.inner = NnxArgument(rngs=rngs)

    def __call__(self, x):
        return self.inner(x, deterministic=not self.train)


MODED = {
    "linen arguments": Modes(),
    "linen argument": OneWord(),
    "linen attribute": Attribute(),
    "linen either": Merged(),
    "linen inside": Conditional(Modes(), linen.Dense(4)),
    "linen head": Conditional(linen.Dense(4), Modes()),
    "nnx argument": from_nnx(NnxArgument),
    "nnx attribute": from_nnx(NnxAttribute),
    "normalized": spectral_normalization(Modes()),
    "in precision": in_precision(Modes(), "float32"),
}


@pytest.mark.parametrize("name", MODED)
def test_every_word_for_the_mode(name):
    net = as_net(MODED[name])
    params, state = net.init(jax.random.key(0), X)
    apply = jax.jit(net.apply, static_argnames="train")
    one, same = apply(params, state, X, key=jax.random.key(1))
    other, _ = apply(params, state, X, key=jax.random.key(2))
    alone, _ = apply(params, state, X[:3], key=jax.random.key(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(alone, one[:3], rtol=1e-5, atol=1e-5)  # running statistics: a matter of each example
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), state, same))
    first, moved = apply(params, state, X, key=jax.random.key(1), train=True)
    second, _ = apply(params, state, X, key=jax.random.key(2), train=True)
    assert not np.allclose(first, second)
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), state, moved))


def test_a_critic_passes_the_mode_on():
    net = as_net(Critic(Modes()))
    params, state = net.init(jax.random.key(0), X)
    one, _ = net.apply(params, state, X, key=jax.random.key(1))
    other, _ = net.apply(params, state, X, key=jax.random.key(2))
    np.testing.assert_array_equal(one, other)
    trained, _ = net.apply(params, state, X, key=jax.random.key(2), train=True)
    assert not np.allclose(trained, one)


def test_functions_with_a_mode():
    def apply(params, x, *, key=None, deterministic=True):
        return x if deterministic else jnp.where(jax.random.bernoulli(key, params, x.shape), x, 0)

    net = from_functions(lambda key, x: jnp.asarray(0.5), apply)
    params, state = net.init(jax.random.key(0), X)
    output, _ = net.apply(params, state, X, key=jax.random.key(1))
    np.testing.assert_array_equal(output, X)
    output, _ = net.apply(params, state, X, key=jax.random.key(1), train=True)
    np.testing.assert_array_equal(output, np.where(jax.random.bernoulli(jax.random.key(1), 0.5, X.shape), X, 0))
    assert in_mode(apply, train=True) == {"deterministic": False}


class StaysOn(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dropout(0.5, deterministic=False)(linen.Dense(4)(x))


class OwnStatistics(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=False)(x)


class ForgetsToPassOn(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        return OneWord()(x, is_training=True)


class Attends(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.MultiHeadDotProductAttention(1, dropout_rate=0.1, deterministic=False)(x[:, None])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (StaysOn(), "StaysOn: Dropout_0, a Dropout, has deterministic=False in evaluation mode"),
        (OwnStatistics(), "OwnStatistics: BatchNorm_0, a BatchNorm, has use_running_average=False"),
        (linen.Sequential([linen.Dense(4), linen.Dropout(0.5)]), "Sequential: layers_1, a Dropout, .*=None"),
        (linen.Sequential([linen.Dense(4), linen.BatchNorm()]), "Sequential: layers_1, a BatchNorm, .*=None"),
        (ForgetsToPassOn(), "ForgetsToPassOn: OneWord_0, a OneWord, has is_training=True"),
        (Attends(), "deterministic=False in evaluation mode"),
        (Conditional(StaysOn(), linen.Dense(2)), "Conditional: body/Dropout_0"),
    ],
)
def test_layers_that_stay_in_training_mode_are_refused(module, message):
    with pytest.raises(ValueError, match=f"{message}.*Give .* an argument train"):
        as_net(module).init(jax.random.key(0), X)


def test_layers_that_do_nothing_or_are_frozen_are_not_refused():
    layers = [linen.Dense(4), linen.Dropout(0.0, deterministic=False), linen.BatchNorm(use_running_average=True)]
    net = as_net(linen.Sequential(layers))
    params, state = net.init(jax.random.key(0), X)
    output, _ = net.apply(params, state, X, key=jax.random.key(1))
    kernel, bias = (np.asarray(params["layers_0"][name]) for name in ("kernel", "bias"))
    np.testing.assert_allclose(output, (X @ kernel + bias) / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-5)


def test_nnx_noise_needs_a_key():
    net = from_nnx(NnxBody)
    params, state = net.init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="pass key="):
        net.apply(params, state, X, train=True)


def test_functions():
    net = from_functions(lambda key, x: jnp.full(x.shape[-1], 2.0), lambda params, x: params[None] * x)
    params, state = net.init(jax.random.key(0), X)
    output, after = net.apply(params, state, X, key=jax.random.key(0), train=True)
    np.testing.assert_allclose(output, 2 * X)
    assert state == after == {}


@pytest.mark.parametrize("bad", [3, "net", lambda x: x])
def test_what_is_not_a_network(bad):
    assert not is_network(bad)
    with pytest.raises(TypeError, match="network must be a Net"):
        as_net(bad)
    with pytest.raises(TypeError, match="module must be"):
        from_linen(bad)


def test_from_nnx_refuses_values():
    with pytest.raises(TypeError, match="got int"):
        from_nnx(3)


def test_lower_precision_computes_low_and_returns_float32():
    net = from_linen(LinenBody(rate=0.0))
    seen = []

    def apply(params, state, *inputs, key=None, train=False):
        seen.extend(leaf.dtype for leaf in jax.tree.leaves((params, inputs)))
        return net.apply(params, state, *inputs, key=key, train=train)

    low = in_precision(Net(net.init, apply), "bfloat16")
    params, state = low.init(jax.random.key(0), X)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}

    def run(net):
        # Linen's normalization promotes bfloat16 to float32 by itself, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return jax.value_and_grad(
                lambda p: (lambda output, new: (jnp.mean(output**2), new))(*net.apply(p, state, X, train=True)),
                has_aux=True,
            )(params)

    (exact, _), exact_gradient = run(net)
    (value, new), gradient = run(low)
    assert set(seen) == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves((value, new, gradient))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(value, exact, rtol=2e-2)
    assert float(value) != float(exact)
    chex.assert_trees_all_close(gradient, exact_gradient, rtol=1e-7, atol=5e-2)
    assert in_precision(net, "float32") is net
    with pytest.raises(ValueError, match="got 'float8'"):
        in_precision(net, "float8")


class Encoder(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        h = LinenBody()(x, train=train)
        return Normal(linen.Dense(2)(h), jnp.exp(linen.Dense(2)(h))).to_event(1)


class Decoder(linen.Module):
    @linen.compact
    def __call__(self, z):
        return Normal(linen.Dense(3)(z), jnp.ones((len(z), 3))).to_event(1)


class NnxEncoder(nnx.Module):
    def __init__(self, *, rngs):
        self.body = NnxBody(rngs=rngs)
        self.loc = nnx.Linear(4, 2, rngs=rngs)
        self.log_scale = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        h = self.body(x)
        return Normal(self.loc(h), jnp.exp(self.log_scale(h))).to_event(1)


@pytest.mark.first(1)
@pytest.mark.parametrize("encoder", [Encoder(), from_nnx(NnxEncoder)], ids=["linen", "nnx"])
@pytest.mark.parametrize("estimator", ["kl", "iwae", "dreg"])
def test_modes_reach_through_objectives(encoder, estimator):
    joints = (
        Joint(evidence("x"), factor("z | x", encoder, name="encoder")),
        Joint(factor("z", standard_normal(2)), factor("x | z", Decoder(), name="decoder")),
    )
    objective = {
        "kl": lambda: vifx.kl(*joints),
        "iwae": lambda: vifx.importance_weighted(*joints, samples=3),
        "dreg": lambda: vifx.importance_weighted(*joints, samples=3, gradient="doubly_reparameterized"),
    }[estimator]()
    batch = {"x": jnp.asarray(X)}
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.jit(objective.players["model"].loss, static_argnames="train")
    _, trained = loss(jax.random.key(1), params, state, batch)
    _, evaluated = loss(jax.random.key(1), params, state, batch, train=False)
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), trained.state, state)
    assert max(jax.tree.leaves(moved)) > 1e-3
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), evaluated.state, state))
    # The posterior in evaluation mode is the network's own output with running statistics.
    if estimator == "kl":
        net = vifx.nets.as_net(encoder)
        posterior, _ = net.apply(params["encoder"], state["encoder"], batch["x"])
        loc, scale = posterior.base_dist.loc, posterior.base_dist.scale
        expected = jnp.mean(jnp.sum(0.5 * (loc**2 + scale**2 - 1) - jnp.log(scale), axis=1))
        np.testing.assert_allclose(evaluated.metrics["kl/z"], expected, rtol=1e-5)
        again, _ = loss(jax.random.key(1), params, state, batch)
        other, _ = loss(jax.random.key(2), params, state, batch)
        assert float(again) != float(other)
