"""W3: RealNVP, 8 affine couplings with 2×64 conditioners, dimension 64, batch 256, against a hand-written JAX program.

The limit is the fastest program that we know: one `lax.scan` over steps, the data on the device, the state donated,
Adam by optax, the couplings unrolled, the halves never put together until the end; the same couplings and parameters as
the vifx program. Density and sampling are one jitted call on a large batch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import data, flows, training
from vifx.training.chunk import advance

pytestmark = pytest.mark.benchmark

N, DIMS, HIDDEN, DEPTH, BATCH, CHUNK, MANY, BOUND = 20_480, 64, 64, 8, 256, 50, 8192, 3.0
HALF = DIMS // 2
OPTIMIZER = optax.adam(1e-3)


def points():
    random = np.random.default_rng(0)
    return np.tanh(random.standard_normal((N, DIMS)) @ random.standard_normal((DIMS, DIMS)) / 8).astype(np.float32)


def raw_init(key):
    def layer(key):
        shapes = ((HALF, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, DIMS))
        scales = (1 / np.sqrt(HALF), 1 / np.sqrt(HIDDEN), 0.0)
        return [
            {"w": scale * jax.random.normal(jax.random.fold_in(key, i), shape), "b": jnp.zeros(shape[1])}
            for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True))
        ]

    return [layer(jax.random.fold_in(key, i)) for i in range(DEPTH)]


def raw_affine(layer, x):
    """Return tanh(s / bound) and t; splits have a concatenation for a gradient, slices a sum of padded parts."""
    h = jax.nn.relu(x @ layer[0]["w"] + layer[0]["b"])
    h = jax.nn.relu(h @ layer[1]["w"] + layer[1]["b"])
    out = h @ layer[2]["w"] + layer[2]["b"]
    s, t = jax.lax.split(out, (HALF, HALF), axis=1)
    return jnp.tanh(s / BOUND), t


def raw_log_prob(params, x):
    first, second = jax.lax.split(x, (HALF, HALF), axis=1)
    total = jnp.zeros(x.shape[0])
    for layer in params:
        s, t = raw_affine(layer, first)
        first, second = second * jnp.exp(BOUND * s) + t, first
        total = total + jnp.sum(s, axis=1)
    square = jnp.sum(first**2, axis=1) + jnp.sum(second**2, axis=1)
    return BOUND * total - 0.5 * square - 0.5 * DIMS * np.log(2 * np.pi)


def raw_sample(key, params):
    z = jax.random.normal(key, (MANY, DIMS))
    first, second = jax.lax.split(z, (HALF, HALF), axis=1)
    for layer in reversed(params):
        s, t = raw_affine(layer, second)
        first, second = second, (first - t) * jnp.exp(-BOUND * s)
    return jnp.concatenate((first, second), axis=1)


def raw_scan(carry, arrays, order, first):
    def one(carry, i):
        params, slot = carry
        x = arrays[jax.lax.dynamic_slice(order, ((first + i) * BATCH,), (BATCH,))]
        value, gradient = jax.value_and_grad(lambda params: -jnp.mean(raw_log_prob(params, x)))(params)
        updates, slot = OPTIMIZER.update(gradient, slot, params)
        return (optax.apply_updates(params, updates), slot), value

    return jax.lax.scan(one, carry, jnp.arange(CHUNK))


def vifx_parts(depth=DEPTH, **options):
    bijection = flows.realnvp(depth, hidden=(HIDDEN, HIDDEN), bound=BOUND, **options)
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x")),
        vifx.Joint(vifx.transformed("x", vifx.standard_normal(DIMS), bijection, name="flow")),
    )
    return flows.Flow(vifx.standard_normal(DIMS), bijection), objective, training.optimize(objective, OPTIMIZER)


def from_raw(params):
    """The same parameters, laid out as the stacked pairs of couplings."""

    def coupling(layer):
        body = tuple({"weight": part["w"], "bias": part["b"]} for part in layer[:2])
        return {"body": body, "head": {"weight": layer[2]["w"], "bias": layer[2]["b"]}}

    pairs = [(coupling(params[i]), coupling(params[i + 1])) for i in range(0, DEPTH, 2)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)


def moved(params):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    noise = [0.05 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, [leaf + change for leaf, change in zip(leaves, noise, strict=True)])


def test_training(ratio):
    x = points()
    _, objective, step = vifx_parts()
    source = data.Resident({"x": x}, BATCH, 0)
    with advance(step, source, None, 0) as run:
        held = {"ours": training.start(jax.random.key(0), step, objective, {"x": jnp.asarray(x[:BATCH])}), "first": 0}

        def ours():
            held["ours"], metrics = run(held["ours"], 0, CHUNK)
            jax.block_until_ready(metrics)

        params = raw_init(jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == sum(leaf.size for leaf in jax.tree.leaves(held["ours"].params))
        held["raw"] = (params, OPTIMIZER.init(params))
        arrays, order = jnp.asarray(x), jax.random.permutation(jax.random.key(1), N)
        scan = jax.jit(raw_scan, donate_argnums=0)

        def raw():
            held["raw"], values = scan(held["raw"], arrays, order, held["first"])
            jax.block_until_ready(values)

        assert ratio("W3 training", ours, raw, blocks=15, per_block=CHUNK) >= 0.90


def test_log_prob(ratio):
    flow, _, _ = vifx_parts()
    params = moved(raw_init(jax.random.key(0)))
    x, own = jnp.asarray(points()[:MANY]), from_raw(params)
    _, state = flow.init(jax.random.key(0), x[:2])
    ours, raw = jax.jit(flow.log_prob), jax.jit(raw_log_prob)
    np.testing.assert_allclose(ours(own, state, x), raw(params, x), rtol=1e-4, atol=1e-3)
    assert (
        ratio(
            "W3 log-prob",
            lambda: [ours(own, state, x).block_until_ready() for _ in range(5)],
            lambda: [raw(params, x).block_until_ready() for _ in range(5)],
            blocks=15,
            per_block=5 * MANY,
        )
        >= 0.90
    )


def test_sampling(ratio):
    flow, _, _ = vifx_parts()
    params = moved(raw_init(jax.random.key(0)))
    own, key = from_raw(params), jax.random.key(3)
    _, state = flow.init(jax.random.key(0), jnp.zeros((2, DIMS)))
    ours, raw = jax.jit(lambda key, own: flow.sample(key, own, state, MANY)), jax.jit(raw_sample)
    noise = jax.random.split(key)[0]  # the flow folds its noise from the key
    np.testing.assert_allclose(ours(key, own), raw(noise, params), rtol=1e-3, atol=1e-3)
    assert (
        ratio(
            "W3 sampling",
            lambda: [ours(key, own).block_until_ready() for _ in range(5)],
            lambda: [raw(noise, params).block_until_ready() for _ in range(5)],
            blocks=15,
            per_block=5 * MANY,
        )
        >= 0.90
    )


def first_call(depth):
    """Seconds from a declared objective to a compiled training step, without any cache."""
    _, objective, step = vifx_parts(depth)
    batch = {"x": jnp.zeros((BATCH, DIMS))}
    started = training.start(jax.random.key(0), step, objective, batch)
    begin = time.perf_counter()
    training.compile(step)(started, batch)[0].params["flow"][0]["head"]["bias"].block_until_ready()
    return time.perf_counter() - begin


def measured_first_calls():
    first_call(DEPTH)
    return [(first_call(DEPTH), first_call(4 * DEPTH)) for _ in range(5)]


def test_first_call_does_not_grow_with_depth(capsys):
    """In a process of its own, where no program is cached."""
    command = "import json, test_realnvp; print(json.dumps(test_realnvp.measured_first_calls()))"
    run = subprocess.run(
        [sys.executable, "-c", command],
        cwd=Path(__file__).parent,
        env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"},
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = np.array(json.loads(run.stdout))
    shallow, deep = np.median(pairs, axis=0)
    ratio = float(np.median(pairs[:, 1] / pairs[:, 0]))
    with capsys.disabled():
        print(f"\nW3 first call: {shallow:.2f} s at 8 couplings, {deep:.2f} s at 32, ratio {ratio:.2f}")
    assert ratio <= 1.2
