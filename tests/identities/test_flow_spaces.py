"""Flows inside joints: equations (3) and (4), against the change of variables written out by hand."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import perturbed

import vifx
from vifx import Joint, evidence, factor, flows, standard_normal, transformed
from vifx.core.conditional import fold
from vifx.core.nets import from_functions
from vifx.distributions import Normal

X = np.random.default_rng(1).standard_normal((6, 4))
NOISE = 0.3


def batch():
    return {"x": jnp.asarray(X)}


def log_normal(value, loc=0.0, scale=1.0):
    return jnp.sum(-0.5 * ((value - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi), axis=-1)


def body(width=5):
    """Features of the parents, in double precision."""
    return from_functions(
        lambda key, *inputs: jax.random.normal(key, (sum(i.shape[1] for i in inputs), width), inputs[0].dtype),
        lambda params, *inputs: jnp.tanh(jnp.concatenate(inputs, axis=1) @ params),
    )


def decoder(outputs=4, scale=0.7):
    return from_functions(
        lambda key, z: 0.5 * jax.random.normal(key, (z.shape[1], outputs), z.dtype),
        lambda params, z: Normal(jnp.sin(z @ params), jnp.full((len(z), outputs), scale, z.dtype)).to_event(1),
    )


def value_and_gradient(objective, params, state, key):
    loss = objective.players["model"].loss
    return jax.jit(jax.value_and_grad(lambda p: loss(key, p, state, batch())[0]))(params)


def same(one, other, rtol=1e-10):
    chex.assert_trees_all_close(one, other, rtol=rtol, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [1, 5])
def test_a_location_and_scale_posterior_is_the_normal_one(x64, samples):
    """(4) with ``F_x(u) = σ(x) ⊙ u + μ(x)`` is the VAE: draw by draw, by value and by gradient."""
    width, latent = 5, 2

    def heads(key, x):
        return {
            "body": body(width).init(key, x)[0],
            "head": {"kernel": jnp.zeros((width, 2 * latent)), "bias": jnp.zeros(2 * latent)},
        }

    def normal(params, x):
        both = body(width).apply(params["body"], {}, x)[0] @ params["head"]["kernel"] + params["head"]["bias"][None]
        loc, log_scale = jnp.split(both, 2, axis=1)
        return Normal(loc, jnp.exp(log_scale)).to_event(1)

    generative = Joint(factor("z", standard_normal(latent)), factor("x | z", decoder(), name="decoder"))
    posterior = flows.conditional_affine(body(width))
    flow = Joint(evidence("x"), transformed("z | x", standard_normal(latent), posterior, name="encoder"))
    plain = Joint(evidence("x"), factor("z | x", from_functions(heads, normal), name="encoder"))
    one, other = (vifx.importance_weighted(joint, generative, samples=samples) for joint in (flow, plain))
    params, state = jax.jit(one.init)(jax.random.key(0), batch())
    params = perturbed(jax.random.key(1), params)
    _, plain_state = other.init(jax.random.key(0), batch())
    same(
        value_and_gradient(one, params, state, jax.random.key(2)),
        value_and_gradient(other, params, plain_state, jax.random.key(2)),
    )


@pytest.mark.thorough
def test_equation_4_by_the_jacobian_of_its_map(x64):
    """The loss of a flow posterior, with ``F_x`` and its Jacobian taken apart by automatic differentiation."""
    latent = 3
    bijection = flows.chain(flows.realnvp(depth=4, hidden=(8,)), flows.conditional_affine(body()))
    inference = Joint(evidence("x"), transformed("z | x", standard_normal(latent), bijection, name="posterior"))
    generative = Joint(factor("z", standard_normal(latent)), factor("x | z", decoder(), name="decoder"))
    objective = vifx.kl(inference, generative, samples=3)
    params, state = jax.jit(objective.init)(jax.random.key(0), batch())
    params = perturbed(jax.random.key(1), params)
    key = jax.random.key(2)
    u = standard_normal(latent).sample(fold(key, "inference", "z | x", "draw"), (18,))
    x = jnp.tile(batch()["x"], (3, 1))

    def by_hand(params):
        def map_of(row, given):
            z, _ = bijection.inverse(params["posterior"], state["posterior"], row[None], given[None])
            return z[0]

        z = jax.vmap(map_of)(u, x)
        log_det = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(map_of))(u, x))[1]
        log_likelihood = log_normal(x, jnp.sin(z @ params["decoder"]), 0.7)
        return jnp.mean(log_normal(u) - log_det - log_normal(z) - log_likelihood)

    same(value_and_gradient(objective, params, state, key), jax.jit(jax.value_and_grad(by_hand))(params), rtol=1e-9)


@pytest.mark.thorough
def test_a_flow_prior_with_noise_around_the_data_is_the_noisy_flow(x64):
    """(4) with ``F_x(u) = F(σu + x)`` and ``q(x|z) = N(F⁻¹(z), σ²)`` is (3) on data with noise σ.

    In the coordinates ``v = F⁻¹(z)`` the posterior is N(x, σ²), the prior the flow, the likelihood N(v, σ²): the
    two normals cancel draw by draw, and the negative log-likelihood of x + σu is left.
    """
    bijection = flows.realnvp(depth=4, hidden=(8,))

    def around(x):
        return Normal(x, jnp.full_like(x, NOISE)).to_event(1)

    inference = Joint(evidence("x"), factor("v | x", around))
    generative = Joint(transformed("v", standard_normal(4), bijection, name="flow"), factor("x | v", around))
    for objective in (
        vifx.kl(inference, generative, samples=4),
        vifx.importance_weighted(inference, generative, samples=1),
    ):
        samples = 4 if repr(objective).startswith("Objective(KL") else 1
        params, state = jax.jit(objective.init)(jax.random.key(0), batch())
        params = perturbed(jax.random.key(1), params)
        key = jax.random.key(2)
        u = jax.random.normal(fold(key, "inference", "v | x", "draw"), (samples * 6, 4))
        noisy = jnp.tile(batch()["x"], (samples, 1)) + NOISE * u
        flow = flows.Flow(standard_normal(4), bijection)

        def nll(params, flow=flow, noisy=noisy, state=state):
            return -jnp.mean(flow.log_prob(params["flow"], state["flow"], noisy))

        same(value_and_gradient(objective, params, state, key), jax.jit(jax.value_and_grad(nll))(params), rtol=1e-9)


@pytest.mark.thorough
def test_the_f_vae_of_the_article_is_a_vae_with_a_flow_prior(x64):
    """``F_x(u) = F(σ(x)u + μ(x))``, ``q(x|z) = N(G(F⁻¹(z)), σ²)`` as (4) writes it, in coordinates ``v = F⁻¹(z)``."""
    bijection, latent = flows.realnvp(depth=2, hidden=(8,)), 2
    encoder = flows.conditional_affine(body())
    inference = Joint(evidence("x"), transformed("v | x", standard_normal(latent), encoder, name="encoder"))
    generative = Joint(
        transformed("v", standard_normal(latent), bijection, name="flow"), factor("x | v", decoder(), name="decoder")
    )
    objective = vifx.kl(inference, generative)
    params, state = jax.jit(objective.init)(jax.random.key(0), batch())
    params = perturbed(jax.random.key(1), params)
    key = jax.random.key(2)
    u = standard_normal(latent).sample(fold(key, "inference", "v | x", "draw"), (6,))
    x = batch()["x"]

    def by_hand(params):
        # F maps v to z: it is the flow from data to base. F⁻¹ inside the decoder is the same bijection, inverted.
        def map_of(row, given):
            v, _ = encoder.inverse(params["encoder"], state["encoder"], row[None], given[None])
            return bijection.forward(params["flow"], state["flow"], v)[0][0]

        z = jax.vmap(map_of)(u, x)
        log_det = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(map_of))(u, x))[1]
        v, _ = bijection.inverse(params["flow"], state["flow"], z)
        log_likelihood = log_normal(x, jnp.sin(v @ params["decoder"]), 0.7)
        return jnp.mean(log_normal(u) - log_det - log_normal(z) - log_likelihood)

    same(value_and_gradient(objective, params, state, key), jax.jit(jax.value_and_grad(by_hand))(params), rtol=1e-9)


@pytest.mark.thorough
def test_maximum_likelihood_of_a_conditional_flow(x64):
    """``kl`` with a flow of x given y is the conditional negative log-likelihood, by the Jacobian."""
    bijection = flows.realnvp(depth=2, hidden=(8,))
    given = jnp.asarray(X[:, :2] ** 2)
    data = {"x": jnp.asarray(X), "y": given}
    objective = vifx.kl(
        Joint(evidence("x", "y")),
        Joint(evidence("y"), transformed("x | y", standard_normal(4), bijection, name="flow")),
    )
    assert objective.dropped == ("− H(p̃(x | y))",)
    params, state = jax.jit(objective.init)(jax.random.key(0), data)
    params = perturbed(jax.random.key(1), params)

    def by_hand(params):
        def map_of(row, y):
            return bijection.forward(params["flow"], state["flow"], row[None], y[None])[0][0]

        z = jax.vmap(map_of)(data["x"], given)
        log_det = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(map_of))(data["x"], given))[1]
        return -jnp.mean(log_normal(z) + log_det)

    loss = objective.players["model"].loss
    found = jax.jit(jax.value_and_grad(lambda p: loss(jax.random.key(3), p, state, data)[0]))(params)
    same(found, jax.jit(jax.value_and_grad(by_hand))(params), rtol=1e-9)
