"""One walk decides as it goes, and a network whose parents are summed runs once a combination of states."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import em, games, networks
from vifx.core.nets import Net, as_net
from vifx.networks import MLP, BernoulliHead, Conditional, DiagonalNormal, OneHot
from vifx.verification import tabular

X = jnp.asarray(np.random.default_rng(0).integers(0, 2, (5, 4)), jnp.float32)


def watched(network, calls):
    """The network, noting the shapes of its inputs at each trace."""
    net = as_net(network)

    def apply(params, state, *inputs, **mode):
        calls.append([value.shape for value in inputs])
        return net.apply(params, state, *inputs, **mode)

    return net._replace(apply=apply)


def logits(states):
    return Conditional(MLP((6,)), networks.CategoricalHead(states))


def nested(*, extra):
    """A joint with two summed latents around a drawn one; `extra` gives the observed factor a drawn parent too."""
    two = Conditional(MLP((6,)), networks.CategoricalHead(2), inputs=(None, OneHot(3)))
    inference = vifx.Joint(
        vifx.evidence("x"),
        vifx.factor("a | x", logits(3), name="a"),
        vifx.factor("w | x", Conditional(MLP((6,)), DiagonalNormal((2,))), name="w"),
        vifx.factor("b | x, a", two, name="b"),
    )
    calls = []
    decoder = watched(Conditional(MLP((6,)), BernoulliHead((4,)), inputs=(OneHot(2), OneHot(3))), calls)
    if extra:
        net = decoder
        decoder = Net(
            lambda key, b, a, w: net.init(key, b, a),
            lambda params, state, b, a, w, **mode: net.apply(params, state, b, a, **mode),
        )
    generative = vifx.Joint(
        vifx.factor("w", vifx.standard_normal(2)),
        vifx.factor("a", em.categorical(3), name="prior of a"),
        vifx.factor("b | a", Conditional(MLP((6,)), networks.CategoricalHead(2), inputs=(OneHot(3),)), name="b of a"),
        vifx.factor("x | b, a, w" if extra else "x | b, a", decoder, name="decoder"),
    )
    return inference, generative, calls


@pytest.mark.thorough
def test_running_a_network_once_a_combination_changes_no_value_and_no_gradient():
    results = []
    for extra in (False, True):
        inference, generative, calls = nested(extra=extra)
        objective = vifx.kl(inference, generative, samples=2)
        params, state = objective.init(jax.random.key(0), {"x": X})
        calls.clear()
        loss = jax.jit(jax.value_and_grad(objective.players["model"].loss, 1, has_aux=True))
        (value, aux), gradient = loss(jax.random.key(1), params, state, {"x": X})
        results.append((value, aux.metrics, gradient))
        # Two states of b, two draws, three states of a, five examples; or two states of b and three of a alone.
        assert calls == ([[(60,), (60,)]] if extra else [[(6,), (6,)]])
    chex.assert_trees_all_close(*results, rtol=2e-5, atol=1e-6)


@pytest.mark.thorough
def test_the_decoder_of_an_exact_posterior_sees_states_and_no_examples():
    calls = []
    decoder = watched(Conditional(MLP((6,)), BernoulliHead((4,)), inputs=(OneHot(3),)), calls)
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(3), name="prior"), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    params, state = objective.init(jax.random.key(0), {"x": X})
    calls.clear()
    (value, _), gradient = jax.jit(jax.value_and_grad(objective.players["model"].loss, 1, has_aux=True))(
        jax.random.key(1), params, state, {"x": X}
    )
    assert {shape for (shape,) in calls} == {(3,)}

    def evidence(params):
        net = as_net(decoder)
        prior, _ = em.categorical(3).apply(params["prior"], state["prior"])
        emission, _ = net.apply(params["decoder"], state.get("decoder", {}), jnp.arange(3), key=None, train=True)
        joint = prior.log_prob(jnp.arange(3))[None] + emission.log_prob(X[:, None])
        return -jnp.mean(jax.scipy.special.logsumexp(joint, axis=1))

    expected, slope = jax.value_and_grad(evidence)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_trees_all_close(gradient, slope, rtol=1e-4, atol=1e-6)


def test_a_loss_of_draws_traces_each_network_once():
    calls = []
    encoder = watched(Conditional(MLP((6,)), DiagonalNormal((2,))), calls)
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(2)),
        vifx.factor("x | z", Conditional(MLP((6,)), BernoulliHead((4,))), name="decoder"),
    )
    objective = vifx.importance_weighted(inference, generative, samples=3)
    params, state = objective.init(jax.random.key(0), {"x": X})
    calls.clear()
    jax.eval_shape(objective.players["model"].loss, jax.random.key(1), params, state, {"x": X})
    assert len(calls) == 1
    generator = watched(MLP((6,), outputs=4), calls)
    gan = games.gan(generator, MLP((6,), outputs=1), prior=vifx.standard_normal(2)).objective
    params, state = gan.init(jax.random.key(0), {"x": X})
    for player in gan.players.values():
        calls.clear()
        jax.eval_shape(player.loss, jax.random.key(1), params, state, {"x": X})
        assert len(calls) == 1


@pytest.mark.thorough
def test_finite_latents_are_summed_until_another_one_is_met():
    finite = ("a | x", tabular(2, states=3), "a")
    drawn = ("w | x", Conditional(MLP((4,)), DiagonalNormal((2,)), inputs=(OneHot(2),)), "w")
    decoder = Conditional(MLP((4,)), networks.CategoricalHead(2), inputs=(OneHot(3), None))
    x = {"x": jnp.array([0, 1, 1])}
    for first, second in ((finite, drawn), (drawn, finite)):
        inference = vifx.Joint(
            vifx.evidence("x"), *(vifx.factor(notation, net, name=name) for notation, net, name in (first, second))
        )
        generative = vifx.Joint(
            vifx.factor("a", tabular(states=3), name="prior"),
            vifx.factor("w", vifx.standard_normal(2)),
            vifx.factor("x | a, w", decoder, name="decoder"),
        )
        objective = vifx.importance_weighted(inference, generative, samples=4)
        params, state = objective.init(jax.random.key(0), x)
        _, aux = jax.jit(objective.players["model"].loss)(jax.random.key(1), params, state, x)
        assert "iwae_sampled" in aux.metrics
        words = vifx.explain(objective, x)
        assert "a: 4 draws, score function" in words
        assert "w: 4 draws, reparameterized" in words
