"""The two chains against products of normals, Bayes' rule, and the generic chains; predictions against each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from diffusion.gaussian_data import z_score

import vifx
from vifx import diffusion, networks
from vifx.core.nets import from_functions
from vifx.diffusion.noise_schedule import NoiseLevel
from vifx.distributions import Normal
from vifx.dynamics import chain

VARIANCES = ("preserving", "exploding")
STEPS, EXAMPLES = 4, 3


def noise(variance="preserving", **ends):
    return diffusion.cosine(**{"start": -4.0, "end": 2.0, **ends}, variance=variance)


def data(examples=EXAMPLES, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(examples, 2)))


def linear(seed=0):
    """A denoiser ``z W + t w`` with parameters."""

    def init(key, z, t, *given):
        random = np.random.default_rng(seed)
        return {"w": jnp.asarray(random.normal(size=(2, 2)) / 2), "t": jnp.asarray(random.normal(size=(1, 2)))}

    return from_functions(init, lambda params, z, t, *given: z @ params["w"] + t @ params["t"] + sum(given))


def reverse_chain(schedule, steps=STEPS, **options):
    net = diffusion.reverse(linear(), schedule, (2,), steps=steps, **options)
    return net.apply(*net.init(jax.random.key(0)))[0]


@pytest.mark.parametrize("predicts", ["noise", "data", "v", "score"])
@pytest.mark.parametrize("variance", VARIANCES)
def test_predictions_are_conversions_of_one_value(predicts, variance):
    with jax.enable_x64(True):
        level = noise(variance).level(jnp.array([0.0, 0.4, 1.0]))
        x, e, wrong = data(), data(seed=1), 0.1 * data(seed=2)
        alpha, sigma = level.alpha[:, None], level.sigma[:, None]
        z = alpha * x + sigma * e
        norm = jnp.sqrt(alpha**2 + sigma**2)
        # A prediction that is wrong by δ in the noise is wrong by −(σ/α) δ in the data.
        noise_hat, data_hat = e + wrong, x - sigma / alpha * wrong
        four = {
            "noise": noise_hat,
            "data": data_hat,
            "v": (alpha * noise_hat - sigma * data_hat) / norm,
            "score": -noise_hat / sigma,
        }
        told = diffusion.Prediction(four[predicts], predicts, z, level)
        for name, expected in four.items():
            np.testing.assert_allclose(getattr(told, name), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(told.squared_error(x, e), np.sum(np.asarray(wrong) ** 2, axis=1), rtol=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_bridge_is_bayes_rule_of_the_steps(variance):
    with jax.enable_x64(True):
        s, t = (noise(variance).level(jnp.full(EXAMPLES, each)) for each in (0.3, 0.7))
        x, at_t, at_s = data(), data(seed=1), data(seed=2)
        told = diffusion.bridge(at_t, x, s, t).log_prob(at_s)
        both = diffusion.marginal(x, s).log_prob(at_s) + diffusion.step(at_s, s, t).log_prob(at_t)
        np.testing.assert_allclose(told, both - diffusion.marginal(x, t).log_prob(at_t), rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_forward_path_has_the_density_of_its_covariance(variance):
    with jax.enable_x64(True):
        schedule = noise(variance)
        forward = diffusion.forward(schedule, steps=STEPS)(data())
        path = forward.sample(jax.random.key(0), (5,))
        assert path.shape == (5, EXAMPLES, STEPS + 1, 2)
        level = schedule.level(jnp.linspace(0, 1, STEPS + 1))
        alpha, sigma = np.asarray(level.alpha), np.asarray(level.sigma)
        first = np.minimum.outer(np.arange(STEPS + 1), np.arange(STEPS + 1))
        covariance = np.outer(alpha, alpha) * (sigma / alpha)[first] ** 2
        expected = [
            [
                sum(
                    scipy.stats.multivariate_normal.logpdf(path[k, i, :, d], alpha * float(data()[i, d]), covariance)
                    for d in range(2)
                )
                for i in range(EXAMPLES)
            ]
            for k in range(5)
        ]
        np.testing.assert_allclose(forward.log_prob(path), expected, rtol=1e-8)
        many = np.asarray(forward.sample(jax.random.key(1), (40_000,)))[:, 0, :, 0] - alpha * float(data()[0, 0])
        products = many[:, :, None] * many[:, None]
        assert z_score(products.reshape(len(many), -1), covariance.reshape(-1)) < 4.26
        assert z_score(products.reshape(len(many), -1), 1.05 * covariance.reshape(-1)) > 4.26


def as_generic_chains(schedule, reverse, x):
    """Both laws of a path from its last point to its first, as `dynamics.chain` has them."""
    grid = schedule.level(jnp.linspace(0, 1, STEPS + 1))

    def levels(index, rows):
        after = STEPS - index[:, 0].astype(jnp.int32)
        return (NoiseLevel(*(each[at] for each in grid)) for at in (after - 1, after))

    def back(z, index, x):
        return diffusion.bridge(z, x, *levels(index, len(z)))

    def denoised(z, index):
        earlier, level = levels(index, len(z))
        return diffusion.bridge(z, reverse.denoise(z, level.gamma).data, earlier, level)

    last = NoiseLevel(*(jnp.broadcast_to(each[-1], (len(x),)) for each in grid))
    prior = Normal(jnp.zeros(2), jnp.full(2, grid.norm[-1])).to_event(1)
    one = chain(lambda x: diffusion.marginal(x, last), back, STEPS + 1)
    other = chain(prior, denoised, STEPS + 1)
    return one.apply(*one.init(jax.random.key(0), x), x)[0], other.apply(*other.init(jax.random.key(0)))[0]


@pytest.mark.thorough
@pytest.mark.parametrize("variance", VARIANCES)
def test_both_densities_are_those_of_generic_chains_that_run_backward(variance):
    with jax.enable_x64(True):
        schedule, x = noise(variance), data()
        forward, reverse = diffusion.forward(schedule, steps=STEPS)(x), reverse_chain(schedule, predicts="data")
        one, other = as_generic_chains(schedule, reverse, x)
        path = forward.sample(jax.random.key(0))
        np.testing.assert_allclose(forward.log_prob(path), one.log_prob(path[:, ::-1]), rtol=1e-9)
        np.testing.assert_allclose(reverse.log_prob(path), other.log_prob(path[:, ::-1]), rtol=1e-9)
        drawn = reverse.sample(jax.random.key(1), (20_000,))
        assert drawn.shape == (20_000, STEPS + 1, 2)
        generic = other.sample(jax.random.key(2), (20_000,))[:, ::-1]
        for power in (1, 2):
            assert z_score(drawn**power, generic**power) < 4.26
        assert z_score(drawn**2, 1.05 * generic**2) > 4.26


@pytest.mark.thorough
@pytest.mark.parametrize("predicts", ["noise", "v"])
def test_all_steps_are_the_divergence_of_generic_chains(predicts):
    with jax.enable_x64(True):
        schedule, x = noise(), data()
        reverse = reverse_chain(schedule, predicts=predicts)
        own = diffusion.forward(schedule, steps=STEPS, times="all")(x).kl_estimate(reverse)
        one, other = as_generic_chains(schedule, reverse, x)
        generic = one.kl_estimate(other)

        def draws(estimate, seed):
            return jax.jit(jax.vmap(estimate.value))(jax.random.split(jax.random.key(seed), 20_000))

        mine, theirs = draws(own, 0), draws(generic, 1)
        assert z_score(mine, theirs) < 4.26
        assert z_score(mine, 1.1 * theirs) > 4.26
        # One step for each example: as much in the mean, by each way of drawing it, and not by a wrong weight.
        proposal = diffusion.importance((1.0, 2.0, 5.0))
        for times in ("uniform", "low_discrepancy", proposal, diffusion.importance(learned=True, bins=3)):
            forward = diffusion.forward(schedule, steps=STEPS, times=times)
            params = {"log_weights": jnp.array([0.5, 0.0, 1.0])}
            made = forward.apply(params, {}, x)[0] if hasattr(forward, "apply") else forward(x)
            found = draws(made.kl_estimate(reverse), 2)
            assert z_score(found, mine) < 4.26, times
            assert z_score(1.1 * found, mine) > 4.26, times


def test_a_network_runs_at_one_step_and_no_other_is_drawn():
    schedule = noise()
    inference, generative = joints(schedule, 100)
    objective = vifx.kl(inference, generative)
    batch = {"x": jnp.ones((8, 2))}
    params, state = objective.init(jax.random.key(0), batch)

    def loss(key, params):
        return objective.players["model"].loss(key, params, state, batch)[0]

    text = jax.jit(loss).lower(jax.random.key(0), params).compile().as_text()
    assert "[8,101,2]" not in text
    assert "[8,100,2]" not in text


def joints(schedule, steps):
    reverse = diffusion.reverse(networks.MLP((8,), 2), schedule, (2,), steps=steps)
    return (
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", diffusion.forward(schedule, steps=steps))),
        vifx.Joint(vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", diffusion.normal(schedule))),
    )
