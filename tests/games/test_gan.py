"""A GAN is one estimator on one pair of joints."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from games.reductions import assert_reduces

import vifx
from vifx import games, networks
from vifx.core.conditional import fold

BATCH = {"x": jax.random.normal(jax.random.key(3), (16, 2)), "y": jnp.arange(16) % 3}
PRIOR = vifx.standard_normal(4)


def small(outputs):
    return networks.MLP((8,), outputs=outputs, activation=jnp.tanh)


class Labelled(nn.Module):
    """A generator of latents and labels."""

    @nn.compact
    def __call__(self, z, y):
        return networks.MLP((8,), outputs=2)(z, networks.OneHot(3)(y))


def binary_cross_entropy(logit, label):
    return -label * jax.nn.log_sigmoid(logit) - (1 - label) * jax.nn.log_sigmoid(-logit)


@pytest.mark.first(1)
@pytest.mark.parametrize("conditional", [False, True])
def test_reduces_to_the_published_losses(conditional):
    """Critic and non-saturating generator, written out on the same draws, in value and gradient."""
    given = ("y",) if conditional else ()
    generator = networks.MLP((8,), outputs=2)
    if conditional:
        generator = Labelled()
        critic = networks.Critic(networks.MLP((8,)), inputs=(None, networks.OneHot(3)))
    else:
        critic = networks.Critic(networks.MLP((8,)))
    assembly = games.gan(generator, critic, prior=PRIOR, given=given)
    params, state = jax.jit(assembly.objective.init)(jax.random.key(0), BATCH)
    labels = tuple(BATCH[name] for name in given)
    noise = assembly.generative.sample(fold(jax.random.key(1), "generative"), params, state, BATCH, examples=16).values[
        "z"
    ]

    def logits(params, x):
        return critic.apply({"params": params["critic"]}, x, *labels)

    def critic_loss(params):
        fake = generator.apply({"params": params["generator"]}, noise, *labels)
        real = binary_cross_entropy(logits(params, BATCH["x"]), 1.0)
        return jnp.mean(real) + jnp.mean(binary_cross_entropy(logits(params, fake), 0.0))

    def generator_loss(params):
        fake = generator.apply({"params": params["generator"]}, noise, *labels)
        return jnp.mean(binary_cross_entropy(logits(params, fake), 1.0))

    assert_reduces(assembly, {"critic": critic_loss, "model": generator_loss}, params, state, BATCH, rtol=1e-6)
    assert assembly.objective.players["critic"].owns == ("critic",)
    assert assembly.objective.players["model"].owns == ("generator",)


def test_options_reach_the_estimator():
    assembly = games.gan(small(2), small(1), prior=PRIOR, divergence="pearson", form="minimax")
    assert "pearson by a critic on (x)" in vifx.explain(assembly.objective)
    with pytest.raises(ValueError, match="form must be one of"):
        games.gan(small(2), small(1), prior=PRIOR, form="nonsaturated")
