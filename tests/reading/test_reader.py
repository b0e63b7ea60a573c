"""The reader: its distribution, its padding, and what it is made of."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import training
from vifx.core.nets import as_net, in_precision
from vifx.networks import AttentionPooling, GatedStack, sinusoids
from vifx.reading.reader import Reader, gated_logits

RANDOM = np.random.default_rng(0)
QUESTION = RANDOM.integers(1, 20, (3, 6)).astype(np.int32) * (np.arange(6) < np.array([6, 4, 1])[:, None])
PASSAGE = RANDOM.integers(1, 20, (3, 12)).astype(np.int32) * (np.arange(12) < np.array([12, 7, 1])[:, None])
FEATURES = RANDOM.random((3, 12, 8)).astype(np.float32) * (PASSAGE > 0)[..., None]
ARTICLE = Reader(20, 8, noise=0.1, positions=4, hand_features=True, passage_dilations=(1, 2, 4))
CODE = Reader(20, 8, dropout=0.1, passage_dilations=(1, 2, 4))


def batch():
    answer = np.zeros((3, 12, 2), np.float32)
    answer[0, 3, 0] = answer[0, 5, 1] = answer[1, 6, 0] = answer[1, 6, 1] = 1
    return {
        "question": jnp.asarray(QUESTION),
        "passage": jnp.asarray(PASSAGE),
        "features": jnp.asarray(FEATURES),
        "answer": jnp.asarray(answer),
    }


def parents(data):
    return data["question"], data["passage"], data["features"]


def objective(reader):
    return vifx.kl(
        vifx.Joint(vifx.evidence("question", "passage", "features", "answer")),
        vifx.Joint(
            vifx.evidence("question", "passage", "features"),
            vifx.factor("answer | question, passage, features", reader, name="reader"),
        ),
    )


def test_logits_are_those_of_the_product(x64):
    s, g = jnp.asarray(RANDOM.normal(scale=4, size=(7, 9, 2))), jnp.asarray(RANDOM.normal(scale=4, size=(7, 1, 1)))
    p = 1 / (1 + np.exp(-np.asarray(s))) / (1 + np.exp(-np.asarray(g)))
    np.testing.assert_allclose(gated_logits(s, g), np.log(p / (1 - p)), rtol=1e-9)


@pytest.mark.parametrize(
    ("s", "g", "expected"), [(200.0, 200.0, 200 - np.log(2)), (-200.0, 3.0, None), (0, -1e4, -1e4)]
)
def test_extreme_scores_keep_their_logits(s, g, expected):
    if expected is None:  # P = e^−200 σ(3)
        expected = -200 - np.log1p(np.exp(-3.0))
    elif g < 0:
        expected = g - np.log(2.0)
    value, slope = jax.value_and_grad(lambda both: gated_logits(both[0], both[1]))(jnp.array([s, g], jnp.float32))
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(slope).all()


@pytest.mark.first(1)
@pytest.mark.parametrize("reader", [ARTICLE, CODE], ids=["article", "code"])
def test_log_density_is_that_of_independent_taggers(reader):
    """Σ over the tokens that there are of y log P + (1 − y) log(1 − P), P the mean; the mean is 0 at padding."""
    data, net = batch(), as_net(reader)
    params, state = jax.jit(net.init)(jax.random.key(0), *parents(data))
    tagged, _ = jax.jit(net.apply)(params, state, *parents(data))
    log_prob = jax.jit(lambda tagged, value: tagged.log_prob(value))
    p, y = np.asarray(tagged.mean, np.float64), np.asarray(data["answer"])
    told = np.asarray(data["passage"]) > 0
    each = np.sum(np.log(np.where(y > 0, p, 1 - p)), axis=-1)
    np.testing.assert_allclose(log_prob(tagged, data["answer"]), np.sum(each * told, axis=1), rtol=1e-5)
    assert not p[~told].any()
    assert (p[told] > 0).all()
    soiled = data["answer"] + jnp.where(jnp.asarray(told)[..., None], 0, 1.0)
    np.testing.assert_array_equal(log_prob(tagged, soiled), log_prob(tagged, data["answer"]))


def test_reader_is_its_parts():
    """By a program of the same layers, of one example and without its padding."""
    net, length = as_net(ARTICLE), 7
    params, state = jax.jit(net.init)(jax.random.key(0), *parents(batch()))
    found = jax.jit(net.apply)(params, state, *parents(batch()))[0].mean[1, :length]

    @jax.jit
    def expected(params):
        table = params["embedding"]
        q = GatedStack(8, (1, 2, 1)).apply({"params": params["question_stack"]}, table[QUESTION[1, :4]][None])
        q = AttentionPooling().apply({"params": params["question_pooling"]}, q)
        told = jnp.concatenate([table[PASSAGE[1, :length]], sinusoids(length, 4), FEATURES[1, :length]], axis=1)
        x = told @ params["of_token"]["kernel"] + params["of_token"]["bias"][None] + q @ params["of_question"]["kernel"]
        x = GatedStack(8, (1, 2, 4)).apply({"params": params["passage_stack"]}, x[None])
        pooled = AttentionPooling().apply({"params": params["passage_pooling"]}, x)
        s = x[0] @ params["taggers"]["kernel"] + params["taggers"]["bias"][None]
        g = jnp.concatenate([pooled, q], axis=1) @ params["gate"]["kernel"] + params["gate"]["bias"][None]
        return jax.nn.sigmoid(s) * jax.nn.sigmoid(g)

    np.testing.assert_allclose(found, expected(params), rtol=1e-4)


@pytest.mark.thorough
def test_more_padding_changes_nothing():
    """The same bits at every length, of the question too, but for products of matrices that are tiny."""
    net = as_net(Reader(20, 48, noise=0.1, positions=8, hand_features=True, passage_dilations=(1, 4)))
    random = np.random.default_rng(5)
    question, passage = (random.integers(1, 20, (3, length)).astype(np.int32) for length in (24, 40))
    features = random.uniform(size=(3, 40, 8)).astype(np.float32)
    params, state = jax.jit(net.init)(jax.random.key(0), *map(jnp.asarray, (question, passage, features)))
    apply, found = jax.jit(lambda *inputs: net.apply(params, state, *inputs)[0].mean), []
    for more in (0, 1, 24, 100):
        inputs = (np.pad(array, ((0, 0), (0, more), (0, 0))[: array.ndim]) for array in (question, passage, features))
        found.append(np.asarray(apply(*map(jnp.asarray, inputs)))[:, :40])
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.thorough
def test_padding_alone_is_refused_or_nothing():
    """On the host by name; in compiled code with a finite value and gradient."""
    data = batch()
    empty = {**data, "passage": data["passage"].at[2].set(0), "question": data["question"].at[1].set(0)}
    net = as_net(ARTICLE)
    with pytest.raises(ValueError, match=r"passage must have a token in every example.* alone in example 2; leave"):
        net.init(jax.random.key(0), data["question"], empty["passage"], data["features"])
    with pytest.raises(ValueError, match=r"question must have a token in every example.* alone in example 1"):
        net.init(jax.random.key(0), *parents(empty))
    with pytest.raises(ValueError, match=r"passage must be ids of tokens, .* got float32\[3, 12\]"):
        net.init(jax.random.key(0), data["question"], data["passage"].astype(jnp.float32), data["features"])
    both = objective(ARTICLE)
    params, state = both.init(jax.random.key(0), data)
    loss = jax.jit(jax.value_and_grad(both.players["model"].loss, argnums=1, has_aux=True))
    for nothing in (empty, jax.tree.map(jnp.zeros_like, data)):
        (value, _), slope = loss(jax.random.key(1), params, state, nothing)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    (value, _), _ = loss(jax.random.key(1), params, state, jax.tree.map(jnp.zeros_like, data))
    assert value == 0


@pytest.mark.thorough
@pytest.mark.parametrize("frozen", [None, True, False])
def test_lower_precision_stays_close(frozen):
    """Under strict promotion nothing inside can have gone back to single precision."""
    vectors = None if frozen is None else np.random.default_rng(3).normal(size=(20, 5)).astype(np.float32)
    reader = ARTICLE.clone(vectors=vectors, frozen=bool(frozen))
    net, low = as_net(reader), in_precision(reader, "bfloat16")
    params, state = jax.jit(net.init)(jax.random.key(0), *parents(batch()))
    exact, half = (jax.jit(each.apply)(params, state, *parents(batch()))[0].mean for each in (net, low))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, exact, rtol=0.05, atol=0.02)
    assert not np.array_equal(half, exact)


@pytest.mark.thorough
def test_unknown_ids_are_seen():
    data, net = batch(), as_net(CODE)
    params, state = jax.jit(net.init)(jax.random.key(0), *parents(data))
    tagged, _ = jax.jit(net.apply)(params, state, data["question"], data["passage"].at[1, 0].set(20), data["features"])
    assert np.isnan(tagged.log_prob(data["answer"])).tolist() == [False, True, False]


@pytest.mark.thorough
@pytest.mark.parametrize("frozen", [True, False])
def test_given_vectors_stay_or_are_trained(frozen):
    vectors = np.random.default_rng(3).normal(size=(20, 5)).astype(np.float32)
    both = objective(Reader(20, 8, passage_dilations=(1,), vectors=vectors, frozen=frozen))
    step = training.optimize(both, optax.sgd(1.0))
    before = training.start(jax.random.key(0), step, both, batch())
    held = jax.tree.map(np.asarray, (before.params["reader"], before.state["reader"]))
    after, _ = training.compile(step)(before, batch())
    where = (held[1]["vectors"], after.state["reader"].get("vectors")) if frozen else (held[0], after.params["reader"])
    np.testing.assert_array_equal(where[0]["embedding"], vectors)
    assert np.array_equal(where[1]["embedding"], vectors) == frozen
    assert ("embedding" in after.params["reader"]) != frozen
    with pytest.raises(ValueError, match=r"vectors must be \[21, dimensions\].* \[20, 5\]"):
        Reader(21, 8, vectors=vectors)


@pytest.mark.thorough
def test_one_length_compiles_once():
    both, data = objective(CODE), batch()
    chex.clear_trace_counter()
    player = both.players["model"]
    counted = player._replace(loss=chex.assert_max_traces(player.loss, n=1))
    both = dataclasses.replace(both, players={"model": counted})
    step = training.optimize(both, optax.adam(1e-3))
    update = training.compile(step)
    state = training.start(jax.random.key(0), step, both, data)
    for shift in range(3):  # other questions, passages and lengths in arrays of one shape
        state, metrics = update(state, {name: jnp.roll(value, shift, axis=0) for name, value in data.items()})
        assert np.isfinite(metrics["nll/answer"])
