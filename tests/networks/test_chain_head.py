"""The head that makes Gaussian chains: a product of a chain and of what each step says, and its divergence."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import em, networks
from vifx.distributions import GaussianChain

SEQUENCES, LENGTH, LATENT = 3, 4, 2
FEATURES = np.random.default_rng(0).normal(size=(SEQUENCES, LENGTH, 5)).astype("float32")


def made():
    """The head with random parameters, in double precision."""
    head = networks.GaussianChainHead(LATENT)
    params = head.init(jax.random.key(0), jnp.asarray(FEATURES))["params"]
    noise = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) + 0.3 * noise.normal(size=leaf.shape), params)
    return params, jax.jit(lambda params: head.apply({"params": params}, jnp.asarray(FEATURES, jnp.float64)))


@pytest.mark.thorough
def test_it_is_the_product_of_a_chain_and_of_what_each_step_says():
    """The log-densities differ by a constant of each sequence."""
    with jax.enable_x64(True):
        params, apply = made()
        found = apply(params)
        params = jax.tree.map(np.asarray, params)
        loc, raw = np.split(FEATURES @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 2, axis=-1)
        positive = lambda raw: 1e-3 + (1 - 1e-3) * np.log1p(np.exp(raw + np.log(np.e - 1)))  # noqa: E731

        def factor(name):
            own = np.asarray(params[name])
            return jnp.asarray(np.tril(own, -1) + np.diag(positive(np.diagonal(own))))

        start = (params["initial_loc"], factor("initial_scale"))
        chain = GaussianChain(*start, params["transition"], params["offset"], factor("scale"), LENGTH)
        z = np.random.default_rng(2).normal(size=(6, SEQUENCES, LENGTH, LATENT))
        pulls = -0.5 * np.sum(((z - loc) / positive(np.asarray(raw))) ** 2, axis=(-2, -1))
        apart = np.asarray(found.log_prob(jnp.asarray(z))) - np.asarray(chain.log_prob(jnp.asarray(z))) - pulls
        np.testing.assert_allclose(apart, np.broadcast_to(apart[:1], apart.shape), rtol=1e-9)


@pytest.mark.thorough
def test_as_an_encoder_its_divergence_is_exact_and_it_is_drawn_for_the_rest():
    """The metric's name says that the divergence is exact; the loss is that of many draws."""
    decoder = networks.Conditional(networks.MLP((4,)), networks.DiagonalNormal((2,)))
    generative = vifx.Joint(
        vifx.factor("z", em.gaussian_chain(LATENT, length=LENGTH), name="chain"),
        vifx.factor("x | z", em.each_step(vifx.nets.as_net(decoder)), name="decoder"),
    )
    encoder = networks.GaussianChainHead(LATENT)
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    objective = vifx.kl(inference, generative, samples=4000)
    batch = {"x": jnp.asarray(FEATURES[:, :, :2])}
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.jit(jax.value_and_grad(objective.players["model"].loss, argnums=1, has_aux=True))
    (_, aux), slope = loss(jax.random.key(1), params, state, batch)
    assert {*aux.metrics} == {"nll/x", "kl/z", "elbo"}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slope["encoder"]))
    draw = jax.jit(partial(inference.sample, batch=batch))
    law = draw(jax.random.key(0), params, state).conditionals["z"]
    prior = generative.factor_of("z").conditional(jax.random.key(0), params["chain"], {}, train=False)[0]
    z = law.sample(jax.random.key(3), (4000,))
    apart = np.asarray(law.log_prob(z)) - np.asarray(prior.log_prob(z))
    error = apart.mean(axis=1).std() / np.sqrt(apart.shape[0])
    assert abs(apart.mean() - float(aux.metrics["kl/z"])) < 5 * (error + 1e-4)


def test_features_without_steps_are_refused():
    with pytest.raises(ValueError, match=r"features must be \[sequences, T, features\]"):
        networks.GaussianChainHead(2).init(jax.random.key(0), jnp.zeros((3, 4)))
