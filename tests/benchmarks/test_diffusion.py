"""W9: a training step of a diffusion of 8×8 images, a U-Net of 32 and 64 channels, batch 64, against a scan by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from benchmarks.conftest import scanned
from vifx import diffusion, networks

pytestmark = pytest.mark.benchmark

EXAMPLES, BLOCK, SHAPE = 64, 8, (8, 8, 1)
START, END = -13.3, 5.0


def test_a_training_step_of_a_diffusion(ratio):
    x = np.random.default_rng(0).integers(0, 256, (EXAMPLES, *SHAPE)).astype(np.uint8)
    schedule, network = diffusion.linear_log_snr(start=START, end=END), networks.UNet((32, 64))
    reverse = diffusion.reverse(network, schedule, SHAPE)
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", diffusion.forward(schedule))),
        vifx.Joint(vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", diffusion.shades(schedule))),
    )
    pixels = jnp.asarray(x)
    whole, state = jax.jit(objective.init)(jax.random.key(0), {"x": pixels})
    start = whole["denoiser"]["network"]

    def own(params, key):
        named = {"denoiser": {"network": params, "schedule": {}}}
        return objective.players["model"].loss(key, named, state, {"x": pixels})[0]

    def loss(params, key):
        x = (pixels.astype(jnp.float32) - 127.5) / 127.5
        times, own, first = jax.random.split(key, 3)
        t = (jax.random.uniform(times) + jnp.arange(EXAMPLES) / EXAMPLES) % 1.0
        gamma = START + (END - START) * t
        alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(each))[:, None, None, None] for each in (-gamma, gamma))
        noise = jax.random.normal(own, x.shape)
        predicted = network.apply({"params": params}, alpha * x + sigma * noise, t[:, None])
        steps = (END - START) / 2 * jnp.mean(jnp.sum((noise - predicted) ** 2, axis=(1, 2, 3)))
        scale = np.exp(START / 2)
        z = x + scale * jax.random.normal(first, x.shape)
        steep = np.pi / np.sqrt(3) / scale
        upper = jnp.where(pixels == 255, 1.0, jax.nn.sigmoid((x + 1 / 255 - z) * steep))
        lower = jnp.where(pixels == 0, 0.0, jax.nn.sigmoid((x - 1 / 255 - z) * steep))
        return steps - jnp.mean(jnp.sum(jnp.log(jnp.maximum(upper - lower, 1e-12)), axis=(1, 2, 3)))

    ours, theirs = (scanned(each, start, BLOCK) for each in (own, loss))
    assert float(ours()[0]) == pytest.approx(float(theirs()[0]), rel=0.2)
    assert ratio("a diffusion's training step", ours, theirs, blocks=7, per_block=BLOCK) >= 0.9
