"""Posteriors of parameters by the same KL: Laplace's start, quadrature, and calibration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import dynamics, training
from vifx.distributions import MultivariateNormal, Normal
from vifx.verification import calibrate

TIMES = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
LOC, SCALE, NOISE = np.log(np.array([0.7, 3.0])), 0.3, 0.1


def decay(theta):
    """``ẋ = −k x`` from x0, of which the logarithms are the parameters: seen at all times with noise."""
    rates = jnp.exp(theta)
    path = dynamics.solve(lambda x, t, k: -k * x, rates[:, 1:], TIMES, rates[:, :1], substeps=4)
    return Normal(path, jnp.asarray(NOISE, theta.dtype)).to_event(2)


def joints():
    """The model, and the Gaussian that starts from Laplace's approximation."""
    prior = MultivariateNormal(jnp.asarray(LOC), SCALE * jnp.eye(2))
    generative = vifx.Joint(vifx.factor("theta", prior), vifx.factor("x | theta", decay))

    def start(key, x):
        def residuals(theta):
            return (x - decay(theta[None]).base_dist.loc) / NOISE, (theta - jnp.asarray(LOC, x.dtype)) / SCALE

        around = jnp.asarray(LOC, x.dtype)[None] + jax.random.uniform(key, (4, 2), x.dtype, -0.6, 0.6)
        return dynamics.laplace(residuals, around)

    posterior = vifx.factor("theta | x", dynamics.gaussian_around(start), name="posterior")
    return vifx.Joint(vifx.evidence("x"), posterior), generative


def observation(dtype):
    theta = jnp.asarray(np.log([[0.8, 2.5]]), dtype)
    return decay(theta).sample(jax.random.key(7))


def exact(x):
    """The posterior on a fine grid: mean, covariance and log evidence."""
    grid = [np.linspace(center - 0.6, center + 0.6, 301) for center in np.log([0.8, 2.5])]
    theta = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    rate, first = np.exp(theta).T
    path = first[:, None] * np.exp(-rate[:, None] * TIMES)
    residual = (np.asarray(x)[0, :, 0] - path) / NOISE
    log = -0.5 * np.sum(residual**2, 1) - 5 * np.log(NOISE) - 2.5 * np.log(2 * np.pi)
    log += -0.5 * np.sum(((theta - LOC) / SCALE) ** 2, 1) - 2 * np.log(SCALE) - np.log(2 * np.pi)
    weights = np.exp(log - log.max())
    evidence = np.log(weights.sum() * np.prod([axis[1] - axis[0] for axis in grid])) + log.max()
    weights /= weights.sum()
    mean = weights @ theta
    return mean, (theta - mean).T @ (weights[:, None] * (theta - mean)), evidence


def fitted(objective, key, x, updates):
    """Adam from Laplace's approximation, in one program."""
    init_key, step_key, key = jax.random.split(key, 3)
    step = training.optimize(objective, optax.adam(optax.cosine_decay_schedule(0.03, updates)))
    params, state = objective.init(init_key, {"x": x})
    start = training.Progress(params, state, step.init(step_key, params, state))
    end, _ = jax.lax.scan(lambda at, key: step.update(key, at, {"x": x}), start, jax.random.split(key, updates))
    return end.params, end.state


def test_laplace_of_a_linear_model_is_its_posterior(x64):
    """``θ ~ N(0, I)``, ``x = A θ + σ ε``, with columns of very different size."""
    matrix = np.random.default_rng(0).normal(size=(5, 3)) * np.array([1.0, 1e3, 1e-2])
    x, sigma = np.random.default_rng(1).normal(size=5), 0.3
    mode, factor = jax.jit(
        lambda starts: dynamics.laplace(lambda theta: (theta, (x - matrix @ theta) / sigma), starts)
    )(np.random.default_rng(2).normal(size=(4, 3)))
    covariance = np.linalg.inv(np.eye(3) + matrix.T @ matrix / sigma**2)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-8)
    np.testing.assert_allclose(mode, covariance @ matrix.T @ x / sigma**2, rtol=1e-6, atol=1e-9)
    assert np.all(np.diagonal(factor) > 0)
    np.testing.assert_array_equal(np.triu(factor, 1), 0)


@pytest.mark.thorough
def test_the_posterior_of_an_ode_is_that_of_quadrature():
    """Means, covariance and the evidence, to which the bound comes close; it starts and ends below."""
    x = observation(np.float32)
    inference, generative = joints()
    objective = vifx.kl(inference, generative, samples=64)
    params, state = jax.jit(lambda x: fitted(objective, jax.random.key(0), x, 300))(x)
    mean, covariance, evidence = exact(x)
    posterior = inference.sample(jax.random.key(0), params, state, {"x": x}).conditionals["theta"]
    np.testing.assert_allclose(posterior.loc[0], mean, atol=0.05 * np.sqrt(np.diagonal(covariance)).min())
    found = np.asarray(posterior.scale_tril @ posterior.scale_tril.mT).reshape(2, 2)
    np.testing.assert_allclose(found, covariance, rtol=0.05)
    loss = jax.jit(vifx.kl(inference, generative, samples=20_000).players["model"].loss)
    bound = -float(loss(jax.random.key(2), params, state, {"x": x})[0])
    assert evidence - 0.02 < bound < evidence + 1e-3
    started = -float(loss(jax.random.key(2), *objective.init(jax.random.key(0), {"x": x}), {"x": x})[0])
    assert started < bound


@pytest.mark.thorough
def test_the_loss_and_its_gradient_are_those_of_quadrature(x64):
    """At a Gaussian that is not the best: Gauss–Hermite nodes in place of draws."""
    x, (inference, generative) = observation(np.float64), joints()
    objective = vifx.kl(inference, generative, samples=40_000)
    params, state = objective.init(jax.random.key(0), {"x": x})
    params = {"posterior": jax.tree.map(lambda leaf: leaf + 0.3, params["posterior"])}
    (value, aux), slope = jax.jit(jax.value_and_grad(objective.players["model"].loss, argnums=1, has_aux=True))(
        jax.random.key(5), params, state, {"x": x}
    )
    assert "kl/theta" in aux.metrics
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    pairs = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    shares = np.outer(weights, weights).ravel() / (2 * np.pi)

    def expected(params):
        own = params["posterior"]
        factor = state["posterior"]["scale_tril"] @ (
            jnp.tril(own["lower"], -1) + jnp.diag(jnp.exp(own["log_diagonal"]))
        )
        loc = state["posterior"]["loc"] + state["posterior"]["scale_tril"] @ own["shift"]
        theta = loc[None] + pairs @ factor.T
        likelihood = decay(theta).log_prob(jnp.broadcast_to(x, (len(theta), *x.shape[1:])))
        prior = MultivariateNormal(jnp.asarray(LOC), SCALE * jnp.eye(2)).log_prob(theta)
        entropy = 1 + np.log(2 * np.pi) + jnp.sum(jnp.log(jnp.diagonal(factor)))
        return -shares @ (likelihood + prior) - entropy

    oracle, oracle_slope = jax.value_and_grad(expected)(params)
    np.testing.assert_allclose(value, oracle, atol=0.02)
    for one, other in zip(jax.tree.leaves(slope), jax.tree.leaves(oracle_slope), strict=True):
        np.testing.assert_allclose(one, other, atol=0.04)


@pytest.mark.slow
def test_the_variational_posterior_is_calibrated():
    """500 data sets, each with a fit of its own, in one program; narrowed by 15 %, it fails, of twice as many."""
    inference, generative = joints()
    objective = vifx.kl(inference, generative, samples=16)

    def sampler(narrowed):
        def posterior(key, x):
            first, second = jax.random.split(key)
            params, state = fitted(objective, first, x[None], 100)
            own = inference.sample(second, params, state, {"x": x[None]}).conditionals["theta"]
            return own.loc + narrowed * (own.sample(jax.random.fold_in(second, 0), (99,))[:, 0] - own.loc)

        return posterior

    right = calibrate(jax.random.key(3), generative, sampler(1.0), "theta")
    assert right.p_value > 1e-4
    wrong = calibrate(jax.random.key(4), generative, sampler(0.85), "theta", simulations=1000)
    assert wrong.p_value < 1e-4


def test_bad_input():
    with pytest.raises(TypeError, match="residuals must be a function"):
        dynamics.laplace(0.0, jnp.zeros((1, 2)))
    with pytest.raises(TypeError, match="start must be a function"):
        dynamics.gaussian_around("laplace")
    with pytest.raises(TypeError, match="got a network"):
        dynamics.gaussian_around(vifx.nets.from_functions(lambda key: {}, lambda params: 0))
    with pytest.raises(ValueError, match=r"must return \[d\] and \[d, d\], got \[2\] and \[2\]"):
        dynamics.gaussian_around(lambda key, x: (x[0], x[0])).init(jax.random.key(0), jnp.zeros((1, 2)))
