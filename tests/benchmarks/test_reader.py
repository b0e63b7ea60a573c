"""W6: the DGCNN reader, 64 passages of 128 tokens and questions of 16, focal loss, Adam, against hand-written JAX.

The limit is the same model as one function of arrays: embeddings, gated convolutions as one `lax` convolution or one
product of patches each, attention pooling by softmax and einsum, the loss by logits; one jitted step with its state
donated. It has no mask that the model does not need: it multiplies by it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import training
from vifx.reading import Reader

pytestmark = pytest.mark.benchmark

EXAMPLES, QUESTION, PASSAGE, WORDS, WIDTH, CHUNK = 64, 16, 128, 1000, 64, 5
ASKED, TOLD = (1, 2, 1), (1, 2, 4, 8, 16, 1)
OPTIMIZER = optax.adam(1e-3)


def batch():
    random = np.random.default_rng(0)

    def ids(length):
        lengths = random.integers(length // 2, length + 1, EXAMPLES)
        return random.integers(1, WORDS, (EXAMPLES, length)) * (np.arange(length)[None] < lengths[:, None])

    passage = ids(PASSAGE).astype(np.int32)
    told = (passage > 0)[..., None]
    return {
        "question": jnp.asarray(ids(QUESTION), jnp.int32),
        "passage": jnp.asarray(passage),
        "features": jnp.asarray((random.uniform(size=(EXAMPLES, PASSAGE, 8)) * told).astype(np.float32)),
        "answer": jnp.asarray(((random.uniform(size=(EXAMPLES, PASSAGE, 2)) < 0.01) * told).astype(np.float32)),
    }


def raw_conv(layer, x, dilation):
    """A convolution by three taps, as slices and a product: on CPUs faster in training than `lax`'s."""
    wide = jnp.pad(x, ((0, 0), (dilation, dilation), (0, 0)))
    patches = jnp.concatenate([wide[:, tap * dilation : tap * dilation + x.shape[1]] for tap in range(3)], axis=-1)
    return patches @ layer["kernel"].reshape(-1, 2 * WIDTH) + layer["bias"]


def raw_lax_conv(layer, x, dilation):
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x[:, None], layer["kernel"], (1, 1), "SAME", rhs_dilation=(1, dilation), dimension_numbers=layout
    )
    return y[:, 0] + layer["bias"]


def raw_stack(params, x, mask, dilations, key, conv, noise):
    for i, dilation in enumerate(dilations):
        x = x * mask
        content, gate = jnp.split(conv(params[f"GatedConv_{i}"]["convolution"], x, dilation), 2, axis=-1)
        scale = jax.random.uniform(jax.random.fold_in(key, i), gate.shape, minval=1 - noise, maxval=1 + noise)
        x = x + jax.nn.sigmoid(gate * scale) * (content - x)
    return x * mask


def raw_pool(params, x, mask):
    scores = jnp.tanh(x @ params["hidden"]["kernel"]) @ params["score"]
    weights = jax.nn.softmax(jnp.where(mask > 0, scores, -1e30), axis=1)
    return jnp.einsum("nt,ntc->nc", weights[..., 0], x)


def raw_loss(params, key, data, conv, noise=0.1):
    asked, told = (data[name][..., None] > 0 for name in ("question", "passage"))
    asked, told = asked.astype(jnp.float32), told.astype(jnp.float32)
    first, second = jax.random.split(key)
    q = raw_stack(params["question_stack"], params["embedding"][data["question"]], asked, ASKED, first, conv, noise)
    q = raw_pool(params["question_pooling"], q, asked)
    x = jnp.concatenate([params["embedding"][data["passage"]], data["features"]], axis=-1)
    x = x @ params["of_token"]["kernel"] + params["of_token"]["bias"] + (q @ params["of_question"]["kernel"])[:, None]
    x = raw_stack(params["passage_stack"], x, told, TOLD, second, conv, noise)
    s = x @ params["taggers"]["kernel"] + params["taggers"]["bias"]
    pooled = raw_pool(params["passage_pooling"], x, told)
    g = jnp.concatenate([pooled, q], axis=-1) @ params["gate"]["kernel"] + params["gate"]["bias"]
    log_p = jax.nn.log_sigmoid(s) + jax.nn.log_sigmoid(g)[:, None]
    logits = log_p - jnp.log(-jnp.expm1(jnp.minimum(log_p, -1e-7)))
    one, zero, y = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits), data["answer"]
    focal = 0.25 * y * jnp.exp(2 * zero) * one + 0.75 * (1 - y) * jnp.exp(2 * one) * zero
    return -jnp.sum(focal * told) / EXAMPLES


def objective():
    reader = Reader(WORDS, WIDTH, ASKED, TOLD, noise=0.1, hand_features=True)
    given = ("question", "passage", "features")
    return vifx.focal(
        vifx.Joint(vifx.evidence(*given, "answer")),
        vifx.Joint(vifx.evidence(*given), vifx.factor("answer | question, passage, features", reader, name="reader")),
    )


@pytest.mark.parametrize("conv", [raw_conv, raw_lax_conv], ids=["product", "lax"])
def test_training_step(ratio, conv):
    data, both = batch(), objective()
    step = training.optimize(both, OPTIMIZER)
    update = training.compile(step)
    held = {"ours": training.start(jax.random.key(0), step, both, data)}
    params = jax.tree.map(jnp.copy, held["ours"].params["reader"])
    held["raw"], key = (params, OPTIMIZER.init(params)), jax.random.key(1)

    # The same function: without noise the losses and the gradients are equal.
    def quiet(params):
        return both.players["model"].loss(key, {"reader": params}, {}, data, train=False)[0]

    values = [
        jax.jit(jax.value_and_grad(f))(params) for f in (quiet, lambda params: raw_loss(params, key, data, conv, 0))
    ]
    for one, other in zip(*map(jax.tree.leaves, values), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max())

    def raw_update(carry, key, data):
        params, slot = carry
        value, gradient = jax.value_and_grad(raw_loss)(params, key, data, conv)
        updates, slot = OPTIMIZER.update(gradient, slot, params)
        return (optax.apply_updates(params, updates), slot), value

    raw_jit = jax.jit(raw_update, donate_argnums=0)

    def ours():
        for _ in range(CHUNK):
            held["ours"], metrics = update(held["ours"], data)
        jax.block_until_ready(metrics)

    def raw():
        for i in range(CHUNK):
            held["raw"], value = raw_jit(held["raw"], jax.random.fold_in(key, i), data)
        jax.block_until_ready(value)

    assert ratio(f"W6 reader, {conv.__name__}", ours, raw, blocks=9, per_block=CHUNK) >= 0.90
