"""W5: Glow of 2 levels, 8 steps each, 64 hidden channels, 32×32×1 images, batch 32, against a hand-written program.

The limit is one `lax.scan` over training steps with a `lax.scan` over the steps of each level in it, the data on the
device, the state donated, Adam by optax, convolutions in the form that `vifx.networks.convolve` chooses for the device;
the same architecture, transform, permutation and parameter count as the vifx program.
"""

from __future__ import annotations

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import vifx
from vifx import data, flows, training
from vifx.networks import convolve
from vifx.training.chunk import advance

pytestmark = pytest.mark.benchmark

N, SIZE, BATCH, LEVELS, DEPTH, HIDDEN, CHUNK, BLOCKS = 10_000, 32, 32, 2, 8, 64, 5, 7
OPTIMIZER = optax.adam(1e-3)


def images():
    return np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 1), dtype=np.uint8)


def raw_level(key, channels, positions, depth):
    keys = jax.random.split(key, 4)
    half = channels // 2
    rotations = np.linalg.qr(np.random.default_rng(channels).standard_normal((depth, channels, channels)))[0]
    lu, _, order = lax.linalg.lu(jnp.asarray(rotations, jnp.float32))
    diagonal = jnp.diagonal(lu, axis1=1, axis2=2)
    eye = jnp.eye(channels)
    fixed = {"permutation": jax.vmap(lambda o: eye[o].T)(order), "sign": jnp.sign(diagonal)}
    params = {
        "mean": jnp.full((depth, channels), 0.5).at[1:].set(0.0),
        "log_scale": jnp.full((depth, channels), math.log(12**-0.5)).at[1:].set(0.0),
        "factors": lu * (1 - eye) + eye * jnp.log(jnp.abs(diagonal))[:, None],
        "w1": jax.random.normal(keys[0], (depth, 3, 3, half, HIDDEN)) * math.sqrt(2 / (9 * half)),
        "b1": jnp.zeros((depth, HIDDEN)),
        "w2": jax.random.normal(keys[1], (depth, 1, 1, HIDDEN, HIDDEN)) * math.sqrt(2 / HIDDEN),
        "b2": jnp.zeros((depth, HIDDEN)),
        "w3": jnp.zeros((depth, 3, 3, HIDDEN, channels)),
        "b3": jnp.zeros((depth, channels)),
    }
    del positions
    return params, fixed


def raw_init(key, depth):
    params, fixed, channels, side = [], [], 1, SIZE
    for level in range(LEVELS):
        channels, side = 4 * channels, side // 2
        own, kept = raw_level(jax.random.fold_in(key, level), channels, side * side, depth)
        last = level == LEVELS - 1
        prior = (
            {"mean": jnp.zeros(channels * side * side), "log_scale": jnp.zeros(channels * side * side)}
            if last
            else {"w": jnp.zeros((3, 3, channels // 2, channels)), "b": jnp.zeros(channels)}
        )
        params.append({"steps": own, "prior": prior})
        fixed.append(kept)
        channels //= 2
    return params, fixed


def raw_step_of_glow(carry, own):
    x, total = carry
    params, fixed = own
    channels = x.shape[-1]
    factors = params["factors"]
    lower = jnp.tril(factors, -1) + jnp.eye(channels)
    upper = jnp.triu(factors, 1) + jnp.diag(fixed["sign"] * jnp.exp(jnp.diagonal(factors)))
    x = (x - params["mean"]) * jnp.exp(-params["log_scale"])
    x = x @ (fixed["permutation"] @ (lower @ upper)).T
    a, b = jnp.split(x, 2, axis=-1)
    h = jax.nn.relu(convolve(a, params["w1"]) + params["b1"])
    h = jax.nn.relu(convolve(h, params["w2"]) + params["b2"])
    s, t = jnp.split(convolve(h, params["w3"]) + params["b3"], 2, axis=-1)
    log_scale = jax.nn.log_sigmoid(s + 2) + math.log1p(math.exp(-2))
    b = b * jnp.exp(log_scale) + t
    positions = x.shape[1] * x.shape[2]
    total = total + positions * (jnp.trace(factors) - jnp.sum(params["log_scale"])) + jnp.sum(log_scale, (1, 2, 3))
    return (jnp.concatenate([a, b], axis=-1), total), None


def raw_nll(params, fixed, x):
    total = jnp.zeros(x.shape[0])
    for level, (own, kept) in enumerate(zip(params, fixed, strict=True)):
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(n, height // 2, width // 2, 4 * channels)
        (x, total), _ = lax.scan(raw_step_of_glow, (x, total), (own["steps"], kept))
        prior = own["prior"]
        if level == LEVELS - 1:
            z, log_scale = x.reshape(n, -1) - prior["mean"], jnp.broadcast_to(prior["log_scale"], (n, x[0].size))
        else:
            x, b = jnp.split(x, 2, axis=-1)
            mean, log_scale = jnp.split(convolve(x, prior["w"]) + prior["b"], 2, axis=-1)
            z, log_scale = (b - mean).reshape(n, -1), log_scale.reshape(n, -1)
        z = z * jnp.exp(-log_scale)
        total = total - jnp.sum(log_scale + 0.5 * z**2 + 0.5 * math.log(2 * math.pi), axis=1)
    return -jnp.mean(total)


def raw_update(carry, key, x, fixed):
    params, slot = carry
    pixels = x.astype(jnp.int32)
    half = (jax.random.bits(key, x.shape, jnp.uint16) >> 1).astype(jnp.int32)
    x = (65536 * pixels + 2 * half + 1).astype(jnp.float32) * jnp.float32(2.0**-24)
    value, gradient = jax.value_and_grad(raw_nll)(params, fixed, x)
    updates, slot = OPTIMIZER.update(gradient, slot, params)
    return (optax.apply_updates(params, updates), slot), value


def raw_scan(carry, key, arrays, order, first, fixed):
    def one(carry, i):
        index = lax.dynamic_slice(order, ((first + i) * BATCH,), (BATCH,))
        return raw_update(carry, jax.random.fold_in(key, first + i), arrays[index], fixed)

    return lax.scan(one, carry, jnp.arange(CHUNK))


def vifx_parts(pixels, depth=DEPTH):
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x")),
        vifx.Joint(
            vifx.transformed(
                "x",
                vifx.standard_normal(SIZE * SIZE),
                flows.glow(levels=LEVELS, depth=depth, hidden=HIDDEN),
                name="flow",
            )
        ),
    )
    return objective, training.optimize(objective, OPTIMIZER), data.Resident({"x": pixels}, BATCH, 0, data.dequantize())


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_scanned(ratio):
    pixels = images()
    objective, step, source = vifx_parts(pixels)
    with advance(step, source, None, 0) as run:
        batch = {"x": jnp.asarray(pixels[:BATCH], jnp.float32) / 256 + 1 / 512}
        held = {"ours": training.start(jax.random.key(0), step, objective, batch), "first": 0}

        def ours():
            held["ours"], metrics = run(held["ours"], held["first"], CHUNK)
            held["first"] = (held["first"] + CHUNK) % (5 * CHUNK)
            jax.block_until_ready(metrics)

        params, fixed = raw_init(jax.random.key(0), DEPTH)
        assert count(params) == count(held["ours"].params)
        held["raw"] = (params, OPTIMIZER.init(params))
        arrays, order = jnp.asarray(pixels), jax.random.permutation(jax.random.key(1), N)
        scan = jax.jit(raw_scan, donate_argnums=0)

        def raw():
            held["raw"], values = scan(held["raw"], jax.random.key(2), arrays, order, held["first"], fixed)
            jax.block_until_ready(values)
            assert np.isfinite(np.asarray(values)).all()

        assert ratio("W5 scanned", ours, raw, blocks=BLOCKS, per_block=CHUNK) >= 0.90


def test_compile_time_does_not_grow_with_depth(capsys):
    """Tracing and compiling a gradient at depth 8 and 32, A B A B."""
    x = jnp.zeros((BATCH, SIZE, SIZE, 1))

    def seconds(depth):
        bijection = flows.glow(levels=LEVELS, depth=depth, hidden=HIDDEN)
        shapes = jax.eval_shape(bijection.init, jax.random.key(0), x)  # nothing is drawn

        fresh = time.perf_counter()  # a program that no compilation cache has seen

        def loss(params, state, x):
            z, log_det = bijection.forward(params, state, x)
            return fresh * jnp.mean(jnp.sum(z**2, axis=1)) - jnp.mean(log_det)

        jax.clear_caches()
        start = time.perf_counter()
        jax.jit(jax.grad(loss)).lower(*shapes, x).compile()
        return time.perf_counter() - start

    seconds(8)
    pairs = [(seconds(8), seconds(32)) for _ in range(3)]
    growth = min(deep for _, deep in pairs) / min(shallow for shallow, _ in pairs)
    with capsys.disabled():
        print(f"\nW5 compile time at depth 32 over depth 8: {growth:.2f} ({min(s for s, _ in pairs):.1f} s at 8)")
    assert growth <= 1.2
