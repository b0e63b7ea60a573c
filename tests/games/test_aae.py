"""An adversarial autoencoder is a critic on z plus reconstruction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games.reductions import assert_reduces

import vifx
from vifx import games, networks
from vifx.core.conditional import fold
from vifx.verification import tabular

BATCH = {"x": jax.random.normal(jax.random.key(3), (16, 2))}
PRIOR = vifx.standard_normal(4)
SIGMA = 0.5


def test_reduces_to_the_published_losses():
    """−log D(E(x)) + λ‖x − G(E(x))‖² with λ = 1/2σ², up to the Gaussian's constant, in value and gradient."""
    encoder, mean, critic = networks.MLP((8,), outputs=4), networks.MLP((8,)), networks.MLP((8,), outputs=1)
    decoder = networks.Conditional(mean, networks.NormalFixedScale((2,), SIGMA))
    assembly = games.aae(encoder, decoder, critic, prior=PRIOR)
    params, state = jax.jit(assembly.objective.init)(jax.random.key(0), BATCH)
    prior = PRIOR.sample(fold(jax.random.key(1), "generative", "z", "draw"), (16,))

    def logit(params, z):
        return critic.apply({"params": params["critic"]}, z)[:, 0]

    def critic_loss(params):
        codes = encoder.apply({"params": params["encoder"]}, BATCH["x"])
        return jnp.mean(jax.nn.softplus(-logit(params, prior))) + jnp.mean(jax.nn.softplus(logit(params, codes)))

    def model_loss(params):
        codes = encoder.apply({"params": params["encoder"]}, BATCH["x"])
        means = decoder.apply({"params": params["decoder"]}, codes).mean
        squares = jnp.sum((BATCH["x"] - means) ** 2, axis=1) / (2 * SIGMA**2)
        constant = 0.5 * 2 * jnp.log(2 * jnp.pi * SIGMA**2)
        return jnp.mean(jax.nn.softplus(-logit(params, codes))) + jnp.mean(squares) + constant

    assert_reduces(assembly, {"critic": critic_loss, "model": model_loss}, params, state, BATCH, rtol=1e-5)
    assert assembly.objective.players["model"].owns == ("encoder", "decoder")


@pytest.mark.thorough
def test_reconstruction_is_part_of_the_joint_divergence(x64):
    """With x kept in the joint, ½KL(p(x,z)‖q(x,z)) − JS(p(z),q(z)) at the best critic: the text of `aae`."""
    batch = {"x": jnp.array([0, 1, 1, 2, 2, 2])}
    evidence = jnp.array([1, 2, 3]) / 6
    logits = jnp.array([0.4, -0.3])
    prior = vifx.distributions.Categorical(logits=logits)
    critic = vifx.nets.from_functions(lambda key, z: jnp.zeros(2), lambda table, z: table[z])
    assembly = games.aae(
        tabular(3, states=2), tabular(2, states=3), critic, prior=prior, deterministic=False, form="nonsaturating"
    )
    params, state = jax.jit(assembly.objective.init)(jax.random.key(0), batch)
    encoder = jax.nn.softmax(params["encoder"], axis=-1)
    decoder = jax.nn.softmax(params["decoder"], axis=-1)
    joint, a = evidence[:, None] * encoder, jax.nn.softmax(logits)
    b = jnp.sum(joint, axis=0)
    params = {**params, "critic": jnp.log(a / b)}

    def kl(first, second):
        return jnp.sum(first * jnp.log(first / second))

    half = 0.5 * (a + b)
    jensen_shannon = 0.5 * kl(a, half) + 0.5 * kl(b, half)
    both = jnp.stack([0.5 * a / half, 0.5 * b / half])
    labelled = 0.5 * jnp.sum(-a * jnp.log(both[0])) + 0.5 * jnp.sum(-b * jnp.log(both[1])) + 0.5 * kl(b, a)
    posterior_entropy = -jnp.sum(joint * jnp.log(joint / b[None]))
    reconstruction = -jnp.sum(joint * jnp.log(decoder).T)
    whole = labelled - jnp.log(2) + 0.5 * (reconstruction - posterior_entropy)
    generative = (a[:, None] * decoder).T
    np.testing.assert_allclose(whole, 0.5 * kl(joint, generative) - jensen_shannon, atol=1e-12)
    metrics = assembly.objective.players["model"].loss(jax.random.key(0), params, state, batch)[1].metrics
    np.testing.assert_allclose(metrics["nll/x"], reconstruction, atol=1e-12)
    np.testing.assert_allclose(metrics["adversarial/z"], jnp.sum(-b * jnp.log(both[0])), atol=1e-12)


@pytest.mark.thorough
def test_a_weight_of_the_reconstruction_scales_it_alone():
    encoder, critic = networks.MLP((8,), outputs=4), networks.MLP((8,), outputs=1)
    decoder = networks.Conditional(networks.MLP((8,)), networks.NormalFixedScale((2,), SIGMA))
    values = []
    for weight in (1.0, 3.0):
        objective = games.aae(encoder, decoder, critic, prior=PRIOR, weight=weight).objective
        params, state = jax.jit(objective.init)(jax.random.key(0), BATCH)
        value, aux = objective.players["model"].loss(jax.random.key(1), params, state, BATCH)
        values.append(value)
        assert value == pytest.approx(float(aux.metrics["adversarial/z"] + weight * aux.metrics["nll/x"]), rel=1e-6)
    assert values[0] != values[1]
