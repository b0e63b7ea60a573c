"""Variational inference of a density that is known up to a constant: the reverse KL without evidence."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpyro.distributions import StudentT

import vifx
from vifx import Joint, data, factor, flows, standard_normal, target, training, transformed
from vifx.core.conditional import fold
from vifx.core.nets import from_functions
from vifx.distributions import Normal

LOG_Z = 1.7
LOC, SCALE = np.array([0.4, -0.9]), np.array([0.5, 1.6])


def hill(z):
    """An unnormalized normal: its integral is e^LOG_Z."""
    loc, scale = (jnp.asarray(value, z.dtype)[None] for value in (LOC, SCALE))
    return LOG_Z + jnp.sum(-0.5 * ((z - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi), axis=1)


def shift_and_scale():
    def init(key, z, given):
        return {"loc": jnp.full(2, 0.1, z.dtype), "log_scale": jnp.asarray([0.3, -0.2], z.dtype)}, {}

    def forward(params, state, z, given, key):
        total = jnp.sum(params["log_scale"])
        return (z - params["loc"][None]) * jnp.exp(-params["log_scale"])[None], jnp.full(len(z), -total)

    def inverse(params, state, u, given, key):
        total = jnp.sum(params["log_scale"])
        return params["loc"][None] + u * jnp.exp(params["log_scale"])[None], jnp.full(len(u), total)

    return flows.checked("shift_and_scale", init, forward, inverse)


def joints():
    flow = Joint(transformed("z", standard_normal(2), shift_and_scale(), name="flow"))
    return flow, Joint(target("z", hill))


def divergence(params):
    """KL(flow ‖ target) in closed form, with the target normalized."""
    loc, scale = params["flow"]["loc"], jnp.exp(params["flow"]["log_scale"])
    ratio = scale / SCALE
    return jnp.sum(0.5 * (ratio**2 + ((loc - LOC) / SCALE) ** 2 - 1) - jnp.log(ratio))


def test_reverse_kl_is_the_divergence_without_log_z(x64):
    objective = vifx.kl(*joints(), samples=500)
    assert objective.dropped == ("+ log Z of hill(z)",)
    params, state = objective.init(jax.random.key(0), {})
    loss = objective.players["model"].loss
    keys = jax.random.split(jax.random.key(1), 400)
    values, gradients = jax.jit(
        jax.vmap(jax.value_and_grad(lambda p, key: loss(key, p, state, {})[0]), in_axes=(None, 0))
    )(params, keys)
    expected, slope = jax.jit(jax.value_and_grad(divergence))(params)

    def agrees(draws, exact):
        draws = np.asarray(draws).reshape(len(keys), -1)
        error = draws.std(axis=0) / np.sqrt(len(keys))
        assert np.all(np.abs(draws.mean(axis=0) - np.ravel(exact)) < 4.26 * error + 1e-12)

    agrees(values + LOG_Z, expected)
    jax.tree.map(agrees, gradients, slope)


def test_bound_at_the_target_is_log_z(x64):
    """With the flow at the target every weight is Z: no variance, and all draws are effective."""
    flow, generative = joints()
    params = {"flow": {"loc": jnp.asarray(LOC), "log_scale": jnp.log(jnp.asarray(SCALE))}}
    for objective, metric in ((vifx.kl(flow, generative, samples=7), "elbo"), (_weighted(flow, generative, 7), "iwae")):
        value, aux = objective.players["model"].loss(jax.random.key(2), params, {"flow": {}}, {})
        np.testing.assert_allclose(value, -LOG_Z, rtol=1e-12)
        np.testing.assert_allclose(aux.metrics[metric], LOG_Z, rtol=1e-12)
    np.testing.assert_allclose(aux.metrics["effective_samples"], 7, rtol=1e-12)


def _weighted(flow, generative, samples):
    return vifx.importance_weighted(flow, generative, samples=samples)


@pytest.mark.thorough
def test_evidence_and_effective_samples_are_those_of_the_weights(x64):
    flow, generative = joints()
    objective = _weighted(flow, generative, 300)
    params, state = objective.init(jax.random.key(0), {})
    key = jax.random.key(3)
    _, aux = objective.players["model"].loss(key, params, state, {})
    z = flow.sample(fold(key, "inference"), params, state, examples=300).values["z"]
    log_w = np.asarray(hill(z) - flow.log_prob(params, state, {"z": z})["z"])
    weights = np.exp(log_w)
    np.testing.assert_allclose(aux.metrics["iwae"], np.log(weights.mean()), rtol=1e-12)
    np.testing.assert_allclose(aux.metrics["effective_samples"], weights.sum() ** 2 / (weights**2).sum(), rtol=1e-12)
    assert abs(aux.metrics["iwae"] - LOG_Z) < 5 * weights.std() / weights.mean() / np.sqrt(300)


def test_closed_forms_need_no_draws(x64):
    """Without evidence, two families with a closed form are compared by it."""
    head = from_functions(
        lambda key: {"loc": jnp.asarray([0.2, 1.0])}, lambda p: Normal(p["loc"], jnp.full(2, 0.5)).to_event(1)
    )
    objective = vifx.kl(Joint(factor("z", head, name="q")), Joint(factor("z", standard_normal(2))))
    params, state = objective.init(jax.random.key(0), {})
    value, aux = objective.players["model"].loss(jax.random.key(1), params, state, {})
    expected = 0.5 * np.sum(0.25 + np.array([0.2, 1.0]) ** 2 - 1 - np.log(0.25))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert set(aux.metrics) == {"kl/z", "elbo"}
    assert objective.dropped == ()


@pytest.mark.thorough
def test_latents_in_several_factors(x64):
    """A target beside a likelihood: both are terms, and only the target drops a constant."""
    wide = StudentT(jnp.asarray(4.0), jnp.zeros(()), jnp.ones(()))
    inference = Joint(
        transformed("z", standard_normal(2), shift_and_scale(), name="flow"), factor("w | z", _around, name=None)
    )
    generative = Joint(target("z", hill), factor("w", wide))
    objective = vifx.kl(inference, generative, samples=20)
    params, state = objective.init(jax.random.key(0), {})
    key = jax.random.key(4)
    value, aux = objective.players["model"].loss(key, params, state, {})
    drawn = inference.sample(fold(key, "inference"), params, state, examples=20)
    assert set(aux.metrics) == {"kl/z_sampled", "kl/w_sampled", "elbo"}
    log_p = inference.log_prob(params, state, drawn.values)
    z_term = jnp.mean(log_p["z"] - hill(drawn.values["z"]))
    np.testing.assert_allclose(aux.metrics["kl/z_sampled"], z_term, rtol=1e-12)
    w_term = jnp.mean(log_p["w | z"] - wide.log_prob(drawn.values["w"]))
    np.testing.assert_allclose(value, z_term + w_term, rtol=1e-12)
    assert objective.dropped == ("+ log Z of hill(z)",)


def _around(z):
    return Normal(z[..., 0], jnp.full_like(z[..., 0], 0.7))


def test_explained():
    text = vifx.explain(vifx.kl(*joints(), samples=8), {})
    assert "hill(z) is known up to its constant Z, which has no parameters: log Z is dropped" in text
    assert "log flow(z) = log base(f(z)) + log|det ∂f(z)/∂z|, f the bijection   (3)" in text
    assert "KL = L + log Z ≥ 0,  and  ELBO = −L ≤ log Z" in text
    assert "dropped     + log Z of hill(z)" in text
    assert "z: 8 draws, reparameterized" in text
    text = vifx.explain(_weighted(*joints(), 8), {})
    assert "E[w] = Z, the target's constant, for (z) drawn from the inference joint" in text
    assert "L = −E log (1/8) Σ_k w_k ≥ −log Z, by Jensen's inequality" in text


def test_trains_on_empty_minibatches():
    objective = vifx.kl(*joints(), samples=64)
    fitted = training.fit(
        jax.random.key(0),
        training.optimize(objective, optax.adam(optax.cosine_decay_schedule(0.1, 300))),
        objective,
        data.Unobserved(),
        steps=300,
        log_every=100,
    )
    found = fitted.train_state.params["flow"]
    np.testing.assert_allclose(found["loc"], LOC, atol=0.02)
    np.testing.assert_allclose(np.exp(found["log_scale"]), SCALE, rtol=0.02)
    with pytest.raises(ValueError, match="window: batches must be an integer ≥ 1, got 0"):
        data.Unobserved().window(0, 0)


@pytest.mark.first(6)
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: target("z | x", hill), ValueError, "would depend on x"),
        (lambda: target("z", standard_normal(2)), TypeError, "must be a function of the value"),
        (lambda: target("z", Normal), TypeError, "must be a function of the value"),
        (lambda: Joint(target("z", hill)).sample(jax.random.key(0), {}, {}, examples=3), ValueError, "cannot be sampl"),
        (lambda: vifx.kl(*joints()[::-1]), ValueError, "has no place in the inference joint"),
        (lambda: vifx.kl(joints()[0], Joint(factor("x", standard_normal(2)))), ValueError, "no factor for 'z'"),
        (
            lambda: (
                vifx.kl(joints()[0], Joint(target("z", lambda z: z)))
                .players["model"]
                .loss(
                    jax.random.key(0), {"flow": shift_and_scale().init(jax.random.key(0), jnp.zeros((2, 2)))[0]}, {}, {}
                )
            ),
            ValueError,
            r"target\(z\): log_prob has shape \[1, 2\], expected \[1\]",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
