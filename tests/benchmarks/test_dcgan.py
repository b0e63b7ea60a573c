"""W2: a DCGAN of 28×28 images, 64 to 128 channels, batch 64, one critic and one generator update a step.

The limit is a hand-written JAX program: one `lax.scan` over steps, the data on the device, the state donated, Adam by
optax, convolutions as matrix products, the same architecture, transform, permutation and parameter count as the
vifx program. The rival is the same program with XLA's own convolutions, one fused step a call.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import vifx
from vifx import data, networks, training
from vifx.core import nets
from vifx.networks import convolve, convolve_transpose
from vifx.training.chunk import advance

pytestmark = pytest.mark.benchmark

N, BATCH, LATENT, CHUNK, BLOCKS = 60_000, 64, 100, 5, 7
OPTIMIZER = optax.adam(2e-4, b1=0.5)
LAYOUT = ("NHWC", "HWIO", "NHWC")
SHAPES = {
    "model": {
        "dense": (LATENT, 7 * 7 * 128),
        "up0": (4, 4, 128, 64),
        "up1": (4, 4, 64, 1),
        "bias": (1,),
        "shift0": (128,),
        "scale0": (128,),
        "shift1": (64,),
        "scale1": (64,),
    },
    "critic": {
        "down0": (4, 4, 1, 64),
        "bias0": (64,),
        "down1": (4, 4, 64, 128),
        "bias1": (128,),
        "dense": (7 * 7 * 128, 1),
        "bias": (1,),
    },
}
FORMS = {
    "matmul": (
        lambda x, kernel: convolve(x, kernel, stride=2, form="matmul"),
        lambda x, kernel: convolve_transpose(x, kernel, stride=2, form="matmul"),
    ),
    "xla": (
        lambda x, kernel: lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT),
        lambda x, kernel: lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT),
    ),
}


def images():
    return np.random.default_rng(0).integers(0, 256, (N, 28, 28, 1), dtype=np.uint8)


def raw_init(key):
    def leaf(name, i, shape):
        if name.startswith("scale"):
            return jnp.ones(shape)
        return 0.02 * jax.random.normal(jax.random.fold_in(key, i), shape) if len(shape) > 1 else jnp.zeros(shape)

    params = {
        player: {name: leaf(name, i, shape) for i, (name, shape) in enumerate(shapes.items())}
        for player, shapes in SHAPES.items()
    }
    running = [{"mean": jnp.zeros(width), "var": jnp.ones(width)} for width in (128, 64)]
    return params, running, {player: OPTIMIZER.init(params[player]) for player in params}


def raw_norm(h, scale, shift, running):
    mean = jnp.mean(h, (0, 1, 2))
    var = jnp.mean(h**2, (0, 1, 2)) - mean**2
    running = {"mean": 0.9 * running["mean"] + 0.1 * mean, "var": 0.9 * running["var"] + 0.1 * var}
    return (h - mean) * (lax.rsqrt(var + 1e-5) * scale) + shift, running


def raw_generator(params, running, z, form):
    _, up = FORMS[form]
    h = (z @ params["dense"]).reshape(-1, 7, 7, 128)
    h, first = raw_norm(h, params["scale0"], params["shift0"], running[0])
    h, second = raw_norm(up(jax.nn.relu(h), params["up0"]), params["scale1"], params["shift1"], running[1])
    return jnp.tanh(up(jax.nn.relu(h), params["up1"]) + params["bias"]), [first, second]


def raw_critic(params, x, form):
    down, _ = FORMS[form]
    h = jax.nn.leaky_relu(down(x, params["down0"]) + params["bias0"], 0.2)
    h = jax.nn.leaky_relu(down(h, params["down1"]) + params["bias1"], 0.2)
    return (h.reshape(h.shape[0], -1) @ params["dense"] + params["bias"])[:, 0]


def raw_step(carry, key, x, form):
    """One update of the critic on data and samples, one of the generator on new samples."""
    params, running, slots = carry
    keys = jax.random.split(key)

    def critic_loss(critic):
        z = jax.random.normal(keys[0], (BATCH, LATENT))
        fake, kept = raw_generator(params["model"], running, z, form)
        softplus = jax.nn.softplus
        loss = softplus(-raw_critic(critic, x, form)).mean() + softplus(raw_critic(critic, fake, form)).mean()
        return loss, kept

    (judged, running), slope = jax.value_and_grad(critic_loss, has_aux=True)(params["critic"])
    change, slot = OPTIMIZER.update(slope, slots["critic"])
    critic, slots = optax.apply_updates(params["critic"], change), {**slots, "critic": slot}

    def model_loss(model):
        fake, kept = raw_generator(model, running, jax.random.normal(keys[1], (BATCH, LATENT)), form)
        return jax.nn.softplus(-raw_critic(critic, fake, form)).mean(), kept

    (value, running), slope = jax.value_and_grad(model_loss, has_aux=True)(params["model"])
    change, slot = OPTIMIZER.update(slope, slots["model"])
    model = optax.apply_updates(params["model"], change)
    return ({"critic": critic, "model": model}, running, {**slots, "model": slot}), (judged, value)


class Raw:
    """The hand-written program, as a call that makes `CHUNK` steps, scanned or one by one."""

    def __init__(self, pixels, form, *, scanned):
        self.carry = raw_init(jax.random.key(0))
        self.arrays, self.order = jnp.asarray(pixels), jax.random.permutation(jax.random.key(1), N)
        self.scanned, self.first = scanned, 0

        def one(carry, key, arrays, order, i):
            index = lax.dynamic_slice(order, (i * BATCH,), (BATCH,))
            x = arrays[index].astype(jnp.float32) / 127.5 - 1
            return raw_step(carry, jax.random.fold_in(key, i), x, form)

        def scan(carry, key, arrays, order, first):
            return lax.scan(lambda carry, i: one(carry, key, arrays, order, first + i), carry, jnp.arange(CHUNK))

        self.run = jax.jit(scan if scanned else one, donate_argnums=0)
        self.key = jax.random.key(2)

    def __call__(self):
        for i in range(1 if self.scanned else CHUNK):
            self.carry, values = self.run(self.carry, self.key, self.arrays, self.order, self.first + i)
        self.first = (self.first + CHUNK) % (5 * CHUNK)
        jax.block_until_ready(values)


def vifx_parts(pixels, precision="float32"):
    generator = nets.in_precision(networks.DCGANGenerator(), precision)
    objective = vifx.adversarial(
        vifx.Joint(vifx.evidence("x")),
        vifx.Joint(
            vifx.factor("z", vifx.standard_normal(LATENT)),
            vifx.implicit("x | z", generator, name="generator"),
        ),
        nets.in_precision(networks.DCGANCritic(), precision),
        on="x",
    )
    turns = [training.descend(objective, player, OPTIMIZER) for player in ("critic", "model")]
    return objective, training.in_turn(*turns), data.Resident({"x": pixels}, BATCH, 0, data.normalize())


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_scanned(ratio):
    pixels = images()
    objective, step, source = vifx_parts(pixels)
    raw = Raw(pixels, "matmul", scanned=True)
    with advance(step, source, None, 0) as run:
        batch = {"x": jnp.zeros((BATCH, 28, 28, 1), jnp.float32)}
        held = {"state": training.start(jax.random.key(0), step, objective, batch), "first": 0}
        assert count(held["state"].params) == count(raw.carry[0])

        def ours():
            held["state"], metrics = run(held["state"], held["first"], CHUNK)
            held["first"] = (held["first"] + CHUNK) % (5 * CHUNK)
            jax.block_until_ready(metrics)

        assert ratio("W2 scanned", ours, raw, blocks=BLOCKS, per_block=CHUNK) >= 0.90


def test_a_scan_keeps_the_speed_of_a_step(ratio):
    pixels = images()
    scan, step = (Raw(pixels, "matmul", scanned=scanned) for scanned in (True, False))
    assert ratio("W2 raw scan against raw step", scan, step, blocks=BLOCKS, per_block=CHUNK) >= 0.90


def test_matrix_products_beat_convolutions_on_a_cpu(ratio):
    pixels = images()
    ours, naive = Raw(pixels, "matmul", scanned=True), Raw(pixels, "xla", scanned=False)
    measured = ratio("W2 raw scan against lax.conv, one fused step", ours, naive, blocks=5, per_block=CHUNK)
    assert measured >= (1.7 if jax.default_backend() == "cpu" else 0.9)
