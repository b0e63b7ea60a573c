"""ALI is one estimator on the joints of a VAE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from games.reductions import assert_reduces

import vifx
from vifx import games, networks
from vifx.core.conditional import fold

BATCH = {"x": jax.random.normal(jax.random.key(3), (16, 2))}
PRIOR = vifx.standard_normal(4)


@pytest.mark.thorough
def test_reduces_to_the_published_losses():
    """E_p log-loss and E_q log-loss with the labels exchanged, on the same draws, in value and gradient."""
    encoder = networks.Conditional(networks.MLP((8,)), networks.DiagonalNormal((4,)))
    generator, critic = networks.MLP((8,), outputs=2), networks.MLP((8,), outputs=1)
    assembly = games.ali(encoder, generator, critic, prior=PRIOR)
    params, state = jax.jit(assembly.objective.init)(jax.random.key(0), BATCH)
    key = jax.random.key(1)
    z = PRIOR.sample(fold(key, "generative", "z", "draw"), (16,))
    normal = jax.random.normal(fold(key, "inference", "z | x", "draw"), (1, 16, 4))[0]

    def logits(params):
        posterior = encoder.apply({"params": params["encoder"]}, BATCH["x"])
        codes = posterior.mean + jnp.sqrt(posterior.variance) * normal
        samples = generator.apply({"params": params["generator"]}, z)
        network = {"params": params["critic"]}
        return critic.apply(network, BATCH["x"], codes)[:, 0], critic.apply(network, samples, z)[:, 0]

    def critic_loss(params):
        at_data, at_samples = logits(params)
        return jnp.mean(jax.nn.softplus(-at_data)) + jnp.mean(jax.nn.softplus(at_samples))

    def model_loss(params):
        at_data, at_samples = logits(params)
        return jnp.mean(jax.nn.softplus(at_data)) + jnp.mean(jax.nn.softplus(-at_samples))

    assert_reduces(assembly, {"critic": critic_loss, "model": model_loss}, params, state, BATCH, rtol=1e-5)
    assert assembly.objective.players["model"].owns == ("encoder", "generator")


def test_deterministic_networks_are_named():
    encoder, generator, critic = (networks.MLP((8,), outputs=n) for n in (4, 2, 1))
    bigan = games.ali(encoder, generator, critic, prior=PRIOR, deterministic=("encoder", "generator"))
    assert str(bigan.inference) == "p̃(x) · δ encoder(z | x)"
    with pytest.raises(ValueError, match="deterministic must be a tuple of names among encoder, generator"):
        games.ali(encoder, generator, critic, prior=PRIOR, deterministic="generator")
    with pytest.raises(ValueError, match="form='full' needs the density of every network, but δ generator"):
        games.ali(encoder, generator, critic, prior=PRIOR, form="full")
