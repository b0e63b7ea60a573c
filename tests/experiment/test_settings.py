"""Precision, rematerialization and microbatches from the config: equal to what they replace, or refused in words."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import vifx
from vifx import data, em, flows, games, nets, networks, training
from vifx.core.nets import cast_floats
from vifx.experiment import Config, Experiment
from vifx.experiment.config import recording
from vifx.experiment.settings import configured, require_read
from vifx.training.compile import lowered

X = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
BITS = (X > 0).astype(np.float32)


def vae(config):
    body = networks.MLP((7,), activation=nn.tanh)  # smooth where all bits are zero
    encoder = networks.Conditional(body, networks.DiagonalNormal((2,)))
    decoder = networks.Conditional(body, networks.BernoulliHead((4,)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", config.net(encoder), name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", config.net(decoder), name="decoder")
    )
    return inference, generative, vifx.kl(inference, generative), BITS


def flow(config):
    inference = vifx.Joint(vifx.evidence("x"))
    couplings = flows.chain(flows.actnorm(), flows.realnvp(depth=2, hidden=(5,), remat=config.remat))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(4), couplings, name="flow"))
    return inference, generative, vifx.kl(inference, generative), X


def gan(config):
    generator = nn.Sequential([nn.Dense(6), nn.tanh, nn.Dense(4)])
    critic = networks.Critic(networks.MLP((5,)))
    model = games.gan(config.net(generator), config.net(critic), prior=vifx.standard_normal(3))
    return model.inference, model.generative, model.objective, X


def mixture(config):
    model = em.mixture(em.gaussian, 3, covariance="diagonal")
    return model.inference, model.generative, model.objective, X


KINDS = {"vae": vae, "flow": flow, "gan": gan, "em": mixture}


def experiment_of(kind, config, rate=0.1):
    inference, generative, objective, x = KINDS[kind](config)
    if kind == "em":
        step, source = training.solve(objective, "model", chunk=8), data.Full({"x": x})
    else:
        step = training.optimize(objective, optax.sgd(rate))
        source = data.Resident({"x": x}, batch_size=16, seed=0)
    built = Experiment(
        objective=objective, step=step, source=source, splits=None, inference=inference, generative=generative
    )
    return configured(built, config)


def begun(built):
    batch = {"x": built.source.arrays["x"][: getattr(built.source, "batch_size", 32)]}
    return training.start(jax.random.key(0), built.step, built.objective, batch), batch


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["flow", "vae", "gan"])
def test_double_precision_is_of_everything(kind):
    """Nothing single meets anything double, which strict promotion refuses, and gradients are finite differences."""
    with jax.enable_x64(True):
        built = experiment_of(kind, Config(precision="float64"))
        state, batch = begun(built)
        assert dtypes((state, batch)) == {"float64"}
        after, metrics = jax.jit(built.step.update)(jax.random.key(1), state.progress, batch)
        assert dtypes((after, metrics)) == {"float64"}
        for player in built.objective.players.values():
            owned = {name: state.params[name] for name in player.owns}

            def loss(owned, player=player):
                return player.loss(jax.random.key(1), {**state.params, **owned}, state.state, batch)[0]

            draw = np.random.default_rng(0).normal
            direction = jax.tree.map(lambda leaf, draw=draw: jnp.asarray(draw(size=leaf.shape)), owned)
            value, gradient = jax.jit(jax.value_and_grad(loss))(owned)
            ahead, behind = (loss(jax.tree.map(lambda p, v, h=h: p + h * v, owned, direction)) for h in (1e-5, -1e-5))
            slope = sum(jnp.sum(g * v) for g, v in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
            np.testing.assert_allclose((ahead - behind) / 2e-5, slope, rtol=1e-7)
            assert np.isfinite(value)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["flow", "em"])
def test_what_double_precision_computes_is_what_single_does_up_to_rounding(kind):
    built = experiment_of(kind, Config())
    state, batch = begun(built)
    single, metrics = jax.jit(built.step.update)(jax.random.key(1), state.progress, batch)
    with jax.enable_x64(True):
        built = experiment_of(kind, Config(precision="float64"))
        double, exact = jax.jit(built.step.update)(
            jax.random.key(1),
            cast_floats(state.progress, "float64"),
            {"x": built.source.arrays["x"][: len(batch["x"])]},
        )
        assert dtypes((double, exact)) == {"float64"}
    name = "objective" if kind == "em" else "loss/model"
    np.testing.assert_allclose(metrics[name], exact[name], rtol=1e-5)
    for one, two in zip(jax.tree.leaves(single.params), jax.tree.leaves(double.params), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.thorough
def test_double_precision_of_one_network():
    with pytest.raises(ValueError, match="float64 needs double precision to be enabled"):
        nets.in_precision(nn.Dense(3), "float64")
    with jax.enable_x64(True):
        net = nets.in_precision(nn.Dense(3), "float64")
        x = jnp.asarray(X)
        params, state = net.init(jax.random.key(0), x)
        output, _ = net.apply(params, state, x)
        assert dtypes((params, output)) == {"float64"}
        np.testing.assert_allclose(output, x.astype("float64") @ params["kernel"] + params["bias"][None], rtol=1e-14)
        with pytest.raises(ValueError, match="64"), jax.enable_x64(False):
            experiment_of("vae", Config(precision="float64"))


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", ["vae", "flow", "gan"])
def test_rematerialized_updates_are_the_same(kind):
    plain, again = (experiment_of(kind, Config(remat=remat)) for remat in (False, True))
    state, batch = begun(plain)
    one, two = (jax.jit(built.step.update)(jax.random.key(1), state.progress, batch) for built in (plain, again))
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.thorough
def test_rematerialized_networks_are_computed_again_and_stacks_take_less_memory():
    """Of networks, it is seen in the program that is given to the compiler, since XLA's for CPUs undoes it there."""

    def costed(inference, generative, x, measure):
        objective = vifx.kl(inference, generative)
        step = training.optimize(objective, optax.sgd(0.1))
        batch = {"x": jax.ShapeDtypeStruct(x, jnp.float32)}
        state = jax.eval_shape(partial(training.start, jax.random.key(0), step, objective), batch)
        return measure(step, state, batch)

    def products(*arguments):
        return lowered(*arguments).as_text().count("stablehlo.dot_general")

    def temporaries(*arguments):
        return training.cost(*arguments).memory.temporaries

    def deep(remat):
        config = Config(remat=remat)
        body = networks.MLP((64,) * 12)
        encoder = config.net(networks.Conditional(body, networks.DiagonalNormal((8,))))
        decoder = config.net(networks.Conditional(body, networks.BernoulliHead((16,))))
        inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
        prior = vifx.factor("z", vifx.standard_normal(8))
        return costed(inference, vifx.Joint(prior, vifx.factor("x | z", decoder, name="decoder")), (512, 16), products)

    def stacked(remat):
        bijection = flows.realnvp(depth=16, hidden=(64, 64), remat=remat)
        generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(8), bijection, name="flow"))
        return costed(vifx.Joint(vifx.evidence("x")), generative, (2048, 8), temporaries)

    assert deep(True) - deep(False) == 2 * 12 + 1  # the hidden layers of both, and the encoder's scale
    assert stacked(True) < 0.4 * stacked(False)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["flow", "vae", "gan"])
def test_microbatches_are_the_mean_of_their_parts(kind):
    """Part m is the examples m, m + 4, …, with the key of m; of a flow, which draws nothing, the whole batch."""
    built = experiment_of(kind, Config(microbatches=4))
    state, batch = begun(built)
    progress = state.progress
    after, _ = jax.jit(built.step.update)(jax.random.key(1), progress, batch)
    plain = experiment_of(kind, Config())
    if kind == "flow":
        expected, _ = jax.jit(plain.step.update)(jax.random.key(1), progress, batch)
    else:
        expected = _by_hand(plain, progress, batch)
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def _by_hand(built, progress, batch):
    """One update, each of whose losses is written out as the mean over four parts."""

    def divided(loss):
        def mean(key, params, state, batch, *, train=True):
            parts = [{"x": batch["x"][m::4]} for m in range(4)]
            found = [loss(jax.random.fold_in(key, m), params, state, part, train=train) for m, part in enumerate(parts)]
            return sum(value for value, _ in found) / 4, found[-1][1]

        return mean

    with jax.debug_key_reuse(False):
        return built.step.rebuild(divided).update(jax.random.key(1), progress, batch)[0]


def test_what_cannot_be_divided_or_would_change_nothing_is_refused():
    with pytest.raises(ValueError, match=r"^microbatches must be 1 here: accumulated: the step has no loss"):
        experiment_of("em", Config(microbatches=2))
    with pytest.raises(ValueError, match="has no loss whose gradient is taken"):
        training.accumulated(training.solve(mixture(Config())[2], "model"), 2)
    for options in ({"precision": "bfloat16"}, {"remat": True}):
        watched, read = recording(Config(**options))
        mixture(watched)
        with pytest.raises(ValueError, match=r"would change nothing: no network of this experiment"):
            require_read(watched, read)
        vae(watched)
        require_read(watched, read)
    require_read(Config(precision="float64"), set())
