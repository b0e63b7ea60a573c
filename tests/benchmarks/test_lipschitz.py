"""Spectral normalization with kept vectors, against the same training step of a convolutional critic without it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vifx import networks
from vifx.core.nets import as_net
from vifx.lipschitz import Convolution, spectral_normalization

pytestmark = pytest.mark.benchmark

BATCH, STEPS = 64, 5


class Critic(nn.Module):
    """28×28 images to logits, 64 and 128 channels."""

    @nn.compact
    def __call__(self, x):
        for width in (64, 128):
            x = nn.leaky_relu(networks.Conv(width, 4, stride=2)(x), 0.2)
        return nn.Dense(1)(x.reshape(x.shape[0], -1))[:, 0]


MAPS = {"Conv_0": Convolution((28, 28), stride=2), "Conv_1": Convolution((14, 14), stride=2)}
NORMS = {"reshaped": {}, "operator": {"norm": "operator", "maps": MAPS}}


def program(net):
    """Scanned updates on real and generated images, and what they start from."""
    images = np.random.default_rng(0).normal(size=(2, BATCH, 28, 28, 1)).astype(np.float32)
    real, generated = jnp.asarray(images)
    optimizer = optax.adam(2e-4)

    def loss(params, state):
        data, state = net.apply(params, state, real, train=True)
        model, state = net.apply(params, state, generated, train=True)
        return jnp.mean(jax.nn.softplus(-data)) + jnp.mean(jax.nn.softplus(model)), state

    def once(carry, _):
        params, state, slot = carry
        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
        updates, slot = optimizer.update(gradient, slot, params)
        return (optax.apply_updates(params, updates), state, slot), value

    params, state = net.init(jax.random.key(0), real)
    held = [(params, state, optimizer.init(params))]
    scan = jax.jit(lambda carry: jax.lax.scan(once, carry, None, STEPS), donate_argnums=0)

    def run():
        held[0], values = scan(held[0])
        assert np.isfinite(jax.block_until_ready(values)).all()

    return run


@pytest.mark.parametrize(("norm", "least"), [("reshaped", 0.93), ("operator", 0.80)])
def test_cost_of_spectral_normalization(ratio, norm, least):
    constrained = program(spectral_normalization(Critic(), **NORMS[norm]))
    plain = program(as_net(Critic()))
    assert ratio(f"spectral normalization, {norm}", constrained, plain, blocks=9, per_block=STEPS) >= least
