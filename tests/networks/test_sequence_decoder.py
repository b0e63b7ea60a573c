"""Decoders of symbols: causal, normalized, and in training blind for what is dropped."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import nets, networks

CLASSES, LENGTH, LATENT = 3, 4, 2
PATHS = jnp.asarray(list(itertools.product(range(CLASSES), repeat=LENGTH)))
BODY = networks.GatedSymbols(CLASSES, features=5, dilations=(1, 2))


def moved(params, seed=7):
    """Parameters away from their start, so that every one of them matters."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.5 * generator.normal(size=leaf.shape).astype(leaf.dtype), params)


def decoder(**options):
    net = networks.autoregressive(BODY, length=LENGTH, classes=CLASSES, **options)
    z = jax.random.normal(jax.random.key(0), (3, LATENT))
    params, state = net.init(jax.random.key(1), z)
    return net, moved(params), state, z


@pytest.mark.thorough
def test_probabilities_of_all_sequences_sum_to_one_for_every_example():
    net, params, state, z = decoder()

    @jax.jit
    def log_probs(params, z):
        law, _ = net.apply(params, state, z)
        return law.log_prob(jnp.broadcast_to(PATHS[:, None], (len(PATHS), len(z), LENGTH)))

    found = np.asarray(log_probs(params, z), np.float64)
    np.testing.assert_allclose(np.exp(found).sum(axis=0), 1, rtol=1e-5)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 0.1  # the parents matter
    alone = np.asarray(log_probs(params, z[1:2]), np.float64)
    np.testing.assert_allclose(found[:, 1:2], alone, rtol=1e-4)


def test_a_symbol_depends_on_those_before_it_alone():
    net, params, state, z = decoder()
    law, _ = net.apply(params, state, z)
    jacobian_like = np.zeros((LENGTH, LENGTH), bool)
    x = jnp.asarray([[0, 1, 2, 0]] * 3)
    start = np.asarray(law.logits(x))
    for place in range(LENGTH):
        changed = np.asarray(law.logits(x.at[:, place].set((x[:, place] + 1) % CLASSES)))
        jacobian_like[place] = np.abs(changed - start).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(jacobian_like, np.triu(np.ones((LENGTH, LENGTH), bool), 1))


def test_dropped_symbols_are_not_read_and_only_in_training():
    """With a body that reads the symbol before alone, log_prob is a mean over what is dropped, by enumeration."""
    table = jnp.asarray(np.random.default_rng(0).normal(size=(CLASSES + 2, CLASSES)), jnp.float32)
    body = nets.from_functions(lambda key, x: {"table": table}, lambda params, x: params["table"][x])
    net = networks.autoregressive(body, length=3, classes=CLASSES, dropout=0.3)
    params, state = net.init(jax.random.key(0))
    x = jnp.asarray([[0, 2, 1]] * 2)

    @jax.jit
    def trained(key):
        return net.apply(params, state, key=key, train=True)[0].log_prob(x)

    rows = np.asarray(jax.nn.log_softmax(table), np.float64)
    possible = {
        dropped: rows[CLASSES, 0] + sum(rows[CLASSES + 1 if hidden else before, symbol] for hidden, before, symbol in
                                        zip(dropped, (0, 2), (2, 1), strict=True))
        for dropped in itertools.product((False, True), repeat=2)
    }  # fmt: skip
    found = np.concatenate([np.asarray(trained(jax.random.key(seed))) for seed in range(400)])
    nearest = np.argmin(np.abs(found[:, None] - np.array(list(possible.values()))), axis=1)
    np.testing.assert_allclose(found, np.array(list(possible.values()))[nearest], rtol=1e-5)
    for index, dropped in enumerate(possible):
        probability = np.prod([0.3 if hidden else 0.7 for hidden in dropped])
        share = (nearest == index).mean()
        assert abs(share - probability) < 4.5 * np.sqrt(probability * (1 - probability) / len(found))
    evaluated, _ = net.apply(params, state, key=jax.random.key(0), train=False)
    np.testing.assert_allclose(evaluated.log_prob(x), possible[(False, False)], rtol=1e-5)
    with pytest.raises(ValueError, match=r"dropout=0.3 draws noise in training mode; pass key="):
        net.apply(params, state, train=True)


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [1, 3])
def test_as_a_decoder_it_is_claimed_and_enumerated(samples):
    """A joint of a finite latent and sequences: the objective is their divergence, whatever the number of draws."""
    net = networks.autoregressive(BODY, length=2, classes=CLASSES)
    encoder = networks.Conditional(networks.MLP((4,)), networks.CategoricalHead(2), inputs=(networks.OneHot(CLASSES),))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    one_hot = nets.from_functions(
        lambda key, z: net.init(key, jax.nn.one_hot(z, 2))[0],
        lambda params, z: net.apply(params, {}, jax.nn.one_hot(z, 2))[0],
    )
    prior = vifx.distributions.uniform_categorical(2)
    generative = vifx.Joint(vifx.factor("z", prior), vifx.factor("x | z", one_hot, name="decoder"))
    objective = vifx.kl(inference, generative, samples=samples)
    batch = {"x": jnp.asarray([[0, 1], [2, 2], [1, 0]])}
    params, state = objective.init(jax.random.key(0), batch)
    params = {name: moved(each, seed) for seed, (name, each) in enumerate(params.items())}
    value, _ = objective.players["model"].loss(jax.random.key(1), params, state, batch, train=False)
    log_post = np.log(np.asarray(encoder.apply({"params": params["encoder"]}, batch["x"]).probs, np.float64))
    expected = 0.0
    for z in range(2):
        law, _ = net.apply(params["decoder"], {}, jnp.tile(jax.nn.one_hot(jnp.asarray([z]), 2), (3, 1)))
        log_joint = np.log(0.5) + np.asarray(law.log_prob(batch["x"]), np.float64)
        expected += np.mean(np.exp(log_post[:, z]) * (log_post[:, z] - log_joint))
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length must be an integer ≥ 1, got 0"),
        ({"classes": 2.0}, "classes must be an integer ≥ 1, got 2.0"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), got 1.0"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        networks.autoregressive(BODY, **{"length": LENGTH, "classes": CLASSES, **options})


def test_a_body_of_other_classes_is_refused():
    net = networks.autoregressive(networks.GatedSymbols(CLASSES + 1, 4, (1,)), length=LENGTH, classes=CLASSES)
    params, state = net.init(jax.random.key(0))
    law, _ = net.apply(params, state)
    with pytest.raises(ValueError, match=r"body returned logits \[1, 4, 4\] .*, expected \[1, 4, 3\]"):
        law.log_prob(jnp.zeros((1, LENGTH), jnp.int32))
