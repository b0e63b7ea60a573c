"""W1: a VAE 784-512-512-(2×32)-512-512-784, Bernoulli, batch 128, against a hand-written JAX program.

The limit is one `lax.scan` over steps, the data on the device, the state donated, Adam by optax; the same
architecture, transform, permutation and parameter count as the vifx program.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import data, networks, training
from vifx.core import nets
from vifx.training.chunk import advance

pytestmark = pytest.mark.benchmark

N, D, BATCH, LATENT, HIDDEN, CHUNK = 60_000, 784, 128, 32, 512, 50
SIZES = {"encoder": (D, HIDDEN, HIDDEN, 2 * LATENT), "decoder": (LATENT, HIDDEN, HIDDEN, D)}


def images():
    return np.random.default_rng(0).integers(0, 256, (N, D), dtype=np.uint8)


def raw_init(key):
    return {
        name: [
            {
                "w": jax.random.normal(jax.random.fold_in(key, 10 * i + len(name)), (a, b)) / np.sqrt(a),
                "b": jnp.zeros(b),
            }
            for i, (a, b) in enumerate(itertools.pairwise(sizes))
        ]
        for name, sizes in SIZES.items()
    }


def raw_mlp(layers, x):
    for i, layer in enumerate(layers):
        x = x @ layer["w"] + layer["b"][None]
        x = jax.nn.relu(x) if i < len(layers) - 1 else x
    return x


def raw_loss(params, key, x):
    out = raw_mlp(params["encoder"], x)
    mean, raw_scale = out[:, :LATENT], out[:, LATENT:]
    scale = jax.nn.softplus(raw_scale) + 1e-3
    z = mean + scale * jax.random.normal(key, mean.shape)
    logits = raw_mlp(params["decoder"], z)
    nll = jnp.sum(jax.nn.softplus(logits) - x * logits, axis=1)
    kl = jnp.sum(0.5 * (mean**2 + scale**2 - 1) - jnp.log(scale), axis=1)
    return jnp.mean(nll) + jnp.mean(kl)


OPTIMIZER = optax.adam(1e-3)


def raw_step(carry, key, x):
    params, slot = carry
    noise, latent = jax.random.split(key)
    bits = jax.random.bits(noise, x.shape, jnp.uint32) >> 9
    x = (bits * 255 < x.astype(jnp.uint32) << 23).astype(jnp.float32)
    value, gradient = jax.value_and_grad(raw_loss)(params, latent, x)
    updates, slot = OPTIMIZER.update(gradient, slot, params)
    return (optax.apply_updates(params, updates), slot), value


def raw_scan(carry, key, arrays, order, first):
    def one(carry, i):
        index = jax.lax.dynamic_slice(order, ((first + i) * BATCH,), (BATCH,))
        return raw_step(carry, jax.random.fold_in(key, first + i), arrays[index])

    return jax.lax.scan(one, carry, jnp.arange(CHUNK))


def vifx_parts(pixels, precision="float32"):
    body = networks.MLP((HIDDEN, HIDDEN))
    encoder = nets.in_precision(networks.Conditional(body, networks.DiagonalNormal((LATENT,))), precision)
    decoder = nets.in_precision(networks.Conditional(body, networks.BernoulliHead((D,))), precision)
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder")),
        vifx.Joint(vifx.factor("z", vifx.standard_normal(LATENT)), vifx.factor("x | z", decoder, name="decoder")),
    )
    step = training.optimize(objective, OPTIMIZER)
    source = data.Resident({"x": pixels}, BATCH, 0, data.binarize())
    return objective, step, source


def test_scanned(ratio):
    pixels = images()
    objective, step, source = vifx_parts(pixels)
    with advance(step, source, None, 0) as run:
        batch = {"x": jnp.zeros((BATCH, D), jnp.float32)}
        held = {"ours": training.start(jax.random.key(0), step, objective, batch), "first": 0}

        def ours():
            held["ours"], metrics = run(held["ours"], held["first"], CHUNK)
            held["first"] = (held["first"] + CHUNK) % (5 * CHUNK)
            jax.block_until_ready(metrics)

        params = raw_init(jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == sum(leaf.size for leaf in jax.tree.leaves(held["ours"].params))
        held["raw"] = (params, OPTIMIZER.init(params))
        arrays, order = jnp.asarray(pixels), jax.random.permutation(jax.random.key(1), N)
        scan = jax.jit(raw_scan, donate_argnums=0)

        def raw():
            held["raw"], values = scan(held["raw"], jax.random.key(2), arrays, order, held["first"])
            jax.block_until_ready(values)

        assert ratio("W1 scanned", ours, raw, blocks=9, per_block=CHUNK) >= 0.90


def test_one_step_a_call(ratio):
    pixels = images()[:BATCH]
    objective, step, _ = vifx_parts(pixels)
    batch = {"x": jnp.asarray(pixels > 127, jnp.float32)}
    update = training.compile(step)
    params = raw_init(jax.random.key(0))
    held = {"ours": training.start(jax.random.key(0), step, objective, batch)}
    held["raw"] = (params, OPTIMIZER.init(params))

    def raw_update(carry, key, x):
        params, slot = carry
        value, gradient = jax.value_and_grad(raw_loss)(params, key, x)
        updates, slot = OPTIMIZER.update(gradient, slot, params)
        return (optax.apply_updates(params, updates), slot), value

    raw_jit, key = jax.jit(raw_update, donate_argnums=0), jax.random.key(0)

    def ours():
        for _ in range(CHUNK):
            held["ours"], metrics = update(held["ours"], batch)
        jax.block_until_ready(metrics)

    def raw():
        for _ in range(CHUNK):
            held["raw"], value = raw_jit(held["raw"], key, batch["x"])
        jax.block_until_ready(value)

    assert ratio("W1 one step a call", ours, raw, blocks=9, per_block=CHUNK) >= 0.95
