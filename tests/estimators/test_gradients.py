"""Gradient estimators are unbiased: z-tests against quadrature, each with a control that must fail.

The model is z ~ N(0, 1), x | z ~ N(wz, s²), with the encoder z | x ~ N(ax + b, e^c). References are exact:
Gauss–Hermite quadrature of the K-sample bound in the noise, differentiated.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import Joint, evidence, factor, standard_normal
from vifx.distributions import Bernoulli, Normal
from vifx.nets import from_functions

DRAWS = 200_000
LIMIT = 4.26
"""|z| of a two-sided test at 2e-5."""

ENCODER = from_functions(
    lambda key, x: {"a": jnp.array(0.7, x.dtype), "b": jnp.array(-0.2, x.dtype), "c": jnp.array(-0.3, x.dtype)},
    lambda p, x: Normal(p["a"] * x + p["b"], jnp.broadcast_to(jnp.exp(p["c"]), x.shape)).to_event(1),
)
DECODER = from_functions(
    lambda key, z: {"w": jnp.array(1.3, z.dtype)},
    lambda p, z: Normal(p["w"] * z, jnp.full(z.shape, 0.6, z.dtype)).to_event(1),
)
BATCH = {"x": np.array([[0.8]], np.float32)}


def joints():
    return (
        Joint(evidence("x"), factor("z | x", ENCODER, name="encoder")),
        Joint(factor("z", standard_normal(1)), factor("x | z", DECODER, name="decoder")),
    )


def exact_gradient(params, samples):
    """∇L_K by tensor quadrature over the K noises, in double precision."""
    with jax.enable_x64(True):
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        weights = weights / weights.sum()
        grid = np.array(list(itertools.product(nodes, repeat=samples)))
        mass = np.prod(list(itertools.product(weights, repeat=samples)), axis=1)
        x = float(BATCH["x"][0, 0])

        def bound(params):
            e, d = params["encoder"], params["decoder"]
            z = e["a"] * x + e["b"] + jnp.exp(e["c"]) * grid
            log_weight = (
                -0.5 * z**2 - 0.5 * ((x - d["w"] * z) / 0.6) ** 2 - np.log(0.6) - 0.5 * np.log(2 * np.pi)
                + 0.5 * grid**2 + e["c"]
            )  # fmt: skip
            return -jnp.sum(mass * (jax.scipy.special.logsumexp(log_weight, axis=1) - np.log(samples)))

        params = jax.tree.map(lambda v: jnp.asarray(v, float), params)
        return jax.tree.map(float, jax.jit(jax.value_and_grad(bound))(params))


def estimates(objective, seed=0):
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    loss = objective.players["model"].loss
    run = jax.jit(jax.vmap(lambda key: jax.value_and_grad(lambda p: loss(key, p, state, batch)[0])(params)))
    return params, run(jax.random.split(jax.random.key(seed), DRAWS))


def z_scores(samples, truth):
    def score(sample, true):
        sample = np.asarray(sample, np.float64)
        return (sample.mean(0) - np.asarray(true)) / (sample.std(0) / np.sqrt(len(sample)))

    scores = jax.tree.leaves(jax.tree.map(score, samples, truth))
    return np.concatenate([np.ravel(s) for s in scores]).tolist()


@pytest.mark.parametrize(
    ("samples", "gradient"),
    [
        (1, "reparameterized"),
        (1, "sticking_the_landing"),
        (1, "doubly_reparameterized"),
        (2, "reparameterized"),
        (2, "doubly_reparameterized"),
    ],
)
def test_importance_weighted_gradients_are_unbiased(samples, gradient):
    objective = vifx.importance_weighted(*joints(), samples=samples, gradient=gradient)
    params, (value, grads) = estimates(objective)
    true_value, true_gradient = exact_gradient(params, samples)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


def test_sticking_the_landing_is_biased_beyond_one_sample():
    """The control: this estimator must be caught at K = 2, for the encoder and for it alone."""
    objective = vifx.importance_weighted(*joints(), samples=2, gradient="sticking_the_landing")
    params, (value, grads) = estimates(objective)
    true_value, true_gradient = exact_gradient(params, 2)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads["encoder"], true_gradient["encoder"]))) > 3 * LIMIT
    assert max(map(abs, z_scores(grads["decoder"], true_gradient["decoder"]))) < LIMIT


def test_kl_gradient_is_unbiased_with_several_samples():
    params, (value, grads) = estimates(vifx.kl(*joints(), samples=3))
    true_value, true_gradient = exact_gradient(params, 1)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    variance = 1 / (1 + 1.3**2 / 0.36)
    posterior = {"a": variance * 1.3 / 0.36, "b": 0.0, "c": 0.5 * np.log(variance)}
    batch = jax.tree.map(jnp.asarray, BATCH)

    def spread(gradient):
        objective = vifx.importance_weighted(*joints(), samples=1, gradient=gradient)
        params, state = objective.init(jax.random.key(0), batch)
        params = {**params, "encoder": jax.tree.map(jnp.float32, posterior)}
        loss = objective.players["model"].loss
        run = jax.vmap(lambda key: jax.grad(lambda p: loss(key, p, state, batch)[0])(params))
        grads = jax.jit(run)(jax.random.split(jax.random.key(0), 100))
        return max(float(jnp.std(g)) for g in jax.tree.leaves(grads["encoder"]))

    assert spread("sticking_the_landing") < 1e-5
    assert spread("doubly_reparameterized") < 1e-5
    assert spread("reparameterized") > 0.1


def bernoulli_joints():
    encoder = from_functions(
        lambda key, x: jnp.array([0.4, -0.3, 0.8], x.dtype), lambda p, x: Bernoulli(p[None] * x).to_event(1)
    )
    decoder = from_functions(
        lambda key, z: jnp.array([0.9, -0.5, 0.3], z.dtype),
        lambda p, z: Normal(z @ p[:, None], jnp.ones((len(z), 1), z.dtype)).to_event(1),
    )
    prior = Bernoulli(jnp.array([0.2, 0.0, -0.4])).to_event(1)
    return (
        Joint(evidence("x"), factor("z | x", encoder, name="encoder")),
        Joint(factor("z", prior), factor("x | z", decoder, name="decoder")),
    )


def bernoulli_bound(params, samples):
    """The bound over binary vectors by enumeration of all tuples of the 8 states."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=3)), np.float32)
    x = BATCH["x"][0, 0]
    bits = lambda logits: jnp.sum(
        states * jax.nn.log_sigmoid(logits) + (1 - states) * jax.nn.log_sigmoid(-logits), axis=1
    )
    with jax.numpy_rank_promotion("allow"):
        log_p = bits(params["encoder"] * x)
        log_w = (
            bits(jnp.array([0.2, 0.0, -0.4]))
            - 0.5 * (x - states @ params["decoder"]) ** 2 - 0.5 * np.log(2 * np.pi) - log_p
        )  # fmt: skip
    index = np.array(list(itertools.product(range(8), repeat=samples)))
    bound = jax.scipy.special.logsumexp(log_w[index], axis=1) - np.log(samples)
    return -jnp.sum(jnp.exp(jnp.sum(log_p[index], axis=1)) * bound)


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_score_function_is_unbiased_on_binary_vectors(samples):
    """A latent that can be neither summed (it is a vector) nor reparameterized; 0 stands for `kl`."""
    objective = (
        vifx.importance_weighted(*bernoulli_joints(), samples=samples) if samples else vifx.kl(*bernoulli_joints())
    )
    params, (value, grads) = estimates(objective)
    truth, true_gradient = jax.value_and_grad(bernoulli_bound)(params, max(samples, 1))
    assert max(map(abs, z_scores(value, truth))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


def test_dropping_the_score_is_caught():
    """The control: the same draws without their score factor."""
    objective = vifx.kl(*bernoulli_joints())
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    inference, generative = bernoulli_joints()

    def wrong(params, key):
        values = inference.sample(key, params, state, batch).values
        values = {**values, "z": jax.lax.stop_gradient(values["z"])}
        q, p = generative.log_prob(params, state, values), inference.log_prob(params, state, values)
        return -jnp.mean(q["z"] + q["x | z"] - p["z | x"])

    grads = jax.jit(jax.vmap(jax.grad(wrong), (None, 0)))(params, jax.random.split(jax.random.key(1), DRAWS))
    truth = jax.grad(bernoulli_bound)(params, 1)
    assert max(map(abs, z_scores(grads["encoder"], truth["encoder"]))) > 3 * LIMIT


def test_doubly_reparameterized_refuses_other_latents():
    objective = vifx.importance_weighted(*bernoulli_joints(), samples=2, gradient="doubly_reparameterized")
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match=r"encoder\(z \| x\) is not reparameterizable"):
        objective.players["model"].loss(jax.random.key(0), params, state, batch)
