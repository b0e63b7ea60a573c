"""A user's own Flax networks in `fit`: chunks of updates against the same compiled step alone.

XLA's convolutions are slow in loops on CPUs, so chunks make one update a call there (`vifx.loops`); dense networks are
scanned. The limit is `training.compile` of the same step, called once an update on a batch that lies on the device.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions
import optax
import pytest
from flax import nnx

import vifx
from vifx import data, games, networks, training
from vifx.networks import BernoulliHead, Conditional, DiagonalNormal
from vifx.training.chunk import advance

pytestmark = pytest.mark.benchmark

N, LATENT, BLOCKS = 6_000, 16, 7


class LinenEncoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(32, (3, 3), strides=2)(x))
        return nn.relu(nn.Conv(64, (3, 3), strides=2)(x)).reshape(x.shape[0], -1)


class LinenDecoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        h = nn.relu(nn.Dense(7 * 7 * 64)(z)).reshape(-1, 7, 7, 64)
        h = nn.relu(nn.ConvTranspose(32, (4, 4), strides=(2, 2))(h))
        return nn.ConvTranspose(1, (4, 4), strides=(2, 2))(h)


class LinenPixels(nn.Module):
    @nn.compact
    def __call__(self, z):
        return numpyro.distributions.Bernoulli(logits=LinenDecoder()(z), validate_args=False).to_event(3)


class LinenCritic(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(LinenEncoder()(x))


class NNXEncoder(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(1, 32, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(32, 64, (3, 3), strides=2, rngs=rngs)
        self.heads = nnx.Linear(7 * 7 * 64, 2 * LATENT, rngs=rngs)

    def __call__(self, x):
        h = nnx.relu(self.second(nnx.relu(self.first(x))))
        loc, raw = jnp.split(self.heads(h.reshape(h.shape[0], -1)), 2, axis=-1)
        return numpyro.distributions.Normal(loc, jax.nn.softplus(raw), validate_args=False).to_event(1)


class NNXDecoder(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(LATENT, 7 * 7 * 64, rngs=rngs)
        self.first = nnx.ConvTranspose(64, 32, (4, 4), strides=(2, 2), rngs=rngs)
        self.second = nnx.ConvTranspose(32, 1, (4, 4), strides=(2, 2), rngs=rngs)

    def __call__(self, z):
        h = nnx.relu(self.dense(z)).reshape(-1, 7, 7, 64)
        return numpyro.distributions.Bernoulli(
            logits=self.second(nnx.relu(self.first(h))), validate_args=False
        ).to_event(3)


def vae(encoder, decoder):
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(LATENT)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    return objective, training.optimize(objective, optax.adam(1e-3))


def linen_vae():
    return vae(Conditional(LinenEncoder(), DiagonalNormal((LATENT,))), LinenPixels())


def nnx_vae():
    return vae(NNXEncoder(nnx.Rngs(0)), NNXDecoder(nnx.Rngs(1)))


def dense_vae():
    sizes = (512, 512)
    return vae(
        Conditional(networks.MLP(sizes), DiagonalNormal((LATENT,))),
        Conditional(networks.MLP(sizes), BernoulliHead((28, 28, 1))),
    )


def linen_gan(turns):
    objective = games.gan(LinenDecoder(), LinenCritic(), prior=vifx.standard_normal(LATENT)).objective
    return objective, training.optimize(objective, optax.adam(1e-4), turns={"critic": turns})


CASES = {
    "Linen VAE, convolutional": (linen_vae, 10),
    "NNX VAE, convolutional": (nnx_vae, 10),
    "Linen DCGAN": (lambda: linen_gan(1), 5),
    "Linen DCGAN, five critic turns": (lambda: linen_gan(5), 3),
    "VAE of our dense networks": (dense_vae, 50),
}


@pytest.mark.parametrize("case", CASES)
def test_fit_keeps_the_speed_of_the_compiled_step(case, ratio):
    make, chunk = CASES[case]
    objective, step = make()
    pixels = np.random.default_rng(0).integers(0, 2, (N, 28, 28, 1)).astype(np.float32)
    source = data.Resident({"x": pixels}, 64, 0)
    batch = {"x": jnp.asarray(pixels[:64])}
    whole = {"x": jnp.stack([batch["x"]] * step.batches)} if step.batches > 1 else batch
    one = training.compile(step)
    states = [training.start(jax.random.key(0), step, objective, batch) for _ in range(2)]
    with advance(step, source, None, 0) as run:

        def ours():
            states[0], metrics = run(states[0], 0, chunk)
            jax.block_until_ready(metrics)

        def single():
            for _ in range(chunk):
                states[1], metrics = one(states[1], whole)
            jax.block_until_ready(metrics)

        assert ratio(f"{case}, fit against one step a call", ours, single, blocks=BLOCKS, per_block=chunk) >= 0.90
