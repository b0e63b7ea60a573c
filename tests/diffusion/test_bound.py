"""The bound of a diffusion against a VAE, an entropy and closed forms; times, weights and schedules of the steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from diffusion import gaussian_data
from diffusion.gaussian_data import best, z_score

import vifx
from vifx import diffusion, nets
from vifx.distributions import Normal


def problem(schedule, network, *, steps, times="low_discrepancy", decoder=None, name=None, **options):
    """The objective of a diffusion of pairs."""
    forward = diffusion.forward(schedule, steps=steps, times=times)
    reverse = diffusion.reverse(network, schedule, (2,), steps=steps, **options)
    return vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", forward, name=name)),
        vifx.Joint(
            vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", decoder or diffusion.normal(schedule))
        ),
    )


def draws(objective, params, *, rows=256, repeats=400, seed=0, metric=None):
    """Losses, or a metric, of many minibatches of the known law."""

    @jax.jit
    def one(key):
        own, noise = jax.random.split(key)
        batch = {"x": gaussian_data.rows(own, rows)}
        value, aux = objective.players["model"].loss(noise, params, {"denoiser": {"network": {}}}, batch)
        return value if metric is None else aux.metrics[metric]

    return jax.lax.map(one, jax.random.split(jax.random.key(seed), repeats))


NONE = {"denoiser": {"network": {}, "schedule": {}}}


@pytest.mark.thorough
def test_one_step_is_the_vae_with_one_latent_by_value_and_gradient():
    """½ (SNR(0) − SNR(1)) ‖x − x̂‖² is the likelihood of a normal decoder of that precision, up to its constant."""
    with jax.enable_x64(True):
        schedule = diffusion.linear_log_snr(start=-1.0, end=2.0)
        start, end = (schedule.level(jnp.asarray(each)) for each in (0.0, 1.0))
        precision = jnp.exp(-start.gamma) - jnp.exp(-end.gamma)
        weights = jnp.array([[0.4, -0.2], [0.1, 0.3]])
        net = nets.from_functions(lambda key, *_: weights, lambda w, z, *t: z @ w)
        blind = lambda z: Normal(jnp.zeros((len(z), 2)), 1.0).to_event(1)  # noqa: E731
        chain = problem(schedule, net, steps=1, decoder=blind, predicts="data")
        vae = vifx.kl(
            vifx.Joint(
                vifx.evidence("x"),
                vifx.factor("z | x", lambda x: Normal(end.alpha * x, jnp.full_like(x, end.sigma)).to_event(1)),
            ),
            vifx.Joint(
                vifx.factor("z", vifx.standard_normal(2)),
                vifx.factor(
                    "x | z",
                    nets.from_functions(
                        lambda key, *_: weights,
                        lambda w, z: Normal(z @ w, jnp.full_like(z, precision**-0.5)).to_event(1),
                    ),
                    name="decoder",
                ),
            ),
        )
        x = {"x": gaussian_data.rows(jax.random.key(5), 50)}
        constant = jnp.log(2 * jnp.pi / precision)  # of two elements
        rest = jnp.mean(jnp.sum(x["x"] ** 2, 1)) / 2 + jnp.log(2 * jnp.pi)  # the decoder that reads nothing

        def each(loss, key):
            return jax.value_and_grad(lambda w: loss(key, w))(weights)

        def of_chain(key, w):
            params = {"denoiser": {"network": w, "schedule": {}}}
            return chain.players["model"].loss(key, params, {"denoiser": {"network": {}}}, x)[0] - rest

        def of_vae(key, w):
            return vae.players["model"].loss(key, {"decoder": w}, {"decoder": {}}, x)[0] - constant

        one, other = (
            jax.jit(jax.vmap(lambda key, loss=loss: each(loss, key)))(jax.random.split(jax.random.key(seed), 4000))
            for seed, loss in enumerate((of_chain, of_vae))
        )
        for mine, theirs in zip(one, other, strict=True):
            assert z_score(mine, theirs) < 4.26
        assert z_score(one[0], 1.01 * other[0]) > 4.26
        assert z_score(one[1], 1.05 * other[1]) > 4.26


@pytest.mark.thorough
def test_of_normal_data_the_bound_tends_to_the_entropy_as_one_over_the_steps():
    with jax.enable_x64(True):
        schedule = diffusion.cosine(start=-9.0, end=7.0)
        at_ends = schedule.level(jnp.array([0.0, 1.0]))
        a, s = at_ends.alpha[1] ** 2, at_ends.sigma[1] ** 2
        second = np.trace(gaussian_data.COV) + np.sum(gaussian_data.MEAN**2)
        rest = 0.5 * (a * second + 2 * (s - 1 - np.log(s))) + np.log(2 * np.pi * np.e * np.exp(-9.0))
        gaps = {}
        for steps in (32, 128, 1024, 2048, 4096, 8192):
            expected = gaussian_data.steps_in_closed_form(np.asarray(schedule.gamma(jnp.linspace(0, 1, steps + 1))))
            gaps[steps] = float(rest + expected) - gaussian_data.ENTROPY
            if steps in (32, 128):
                found = draws(problem(schedule, best(schedule), steps=steps), NONE)
                assert z_score(found, float(rest + expected)) < 4.26
                assert z_score(found, float(rest + 1.1 * expected)) > 4.26
        # What is left in the limit: noise e^−9 in the data, e^−7 of signal in the prior.
        limit = 2 * gaps[8192] - gaps[4096]
        assert abs(limit) < 5e-3
        for steps in (1024, 2048):
            np.testing.assert_allclose((gaps[steps] - limit) / (gaps[2 * steps] - limit), 2, rtol=0.05)
        continuous = draws(problem(schedule, best(schedule), steps=None), NONE)
        assert z_score(continuous, gaussian_data.ENTROPY + limit) < 4.26
        assert z_score(continuous, gaussian_data.ENTROPY + gaps[128]) > 4.26


@pytest.mark.thorough
def test_in_continuous_time_only_the_ends_of_the_schedule_count():
    """The denoiser is not the best one, so that the bound is a number of its own."""
    with jax.enable_x64(True):
        ends = {"start": -6.0, "end": 4.0}
        learned = diffusion.learned(units=8, **ends)
        params = learned.init(jax.random.key(0))
        params = {**params, "weight": params["weight"] + 3 * jnp.sin(jnp.arange(8.0))}
        schedules = {
            "linear": (diffusion.linear_log_snr(**ends), {}),
            "cosine": (diffusion.cosine(**ends), {}),
            "learned": (learned, params),
            "other ends": (diffusion.linear_log_snr(start=-5.7, end=4.0), {}),
            "exploding": (diffusion.linear_log_snr(**ends, variance="exploding"), {}),
        }
        found = {}
        for seed, (name, (schedule, own)) in enumerate(schedules.items()):
            objective = problem(schedule, best(schedule, off=0.3), steps=None)
            shape = {"denoiser": {"network": {}, "schedule": own}}
            found[name] = draws(objective, shape, seed=seed, metric="kl/z/steps")
        for name in ("cosine", "learned", "exploding"):
            assert z_score(found["linear"], found[name]) < 4.26, name
        assert z_score(found["linear"], found["other ends"]) > 4.26


@pytest.mark.thorough
def test_a_learned_schedule_and_learned_times_vary_less():
    """Both are moved by the estimate's second moment, and leave the bound where it is."""
    schedule = diffusion.learned(units=16, start=-6.0, end=4.0)
    times = diffusion.importance(learned=True, bins=16)
    fixed = diffusion.cosine(start=-9.0, end=7.0)
    cases = {
        "schedule": problem(schedule, best(schedule), steps=None),
        "times": problem(fixed, best(fixed), steps=None, times=times, name="times"),
    }
    for name, objective in cases.items():
        before, after = steps_before_and_after(objective)
        assert z_score(before, after) < 4.26, name
        assert after.var() < 0.9 * before.var(), (name, before.var(), after.var())


def steps_before_and_after(objective):
    """Train for a while; return the step terms of many minibatches before and after."""
    batch = {"x": gaussian_data.rows(jax.random.key(1), 256)}
    params, state = objective.init(jax.random.key(0), batch)
    optimizer = optax.adam(0.05)

    def loss(params, key):
        own, noise = jax.random.split(key)
        value, aux = objective.players["model"].loss(noise, params, state, {"x": gaussian_data.rows(own, 256)})
        return value, aux.metrics["kl/z/steps"]

    def update(carry, key):
        params, slot = carry
        change, slot = optimizer.update(jax.grad(loss, has_aux=True)(params, key)[0], slot)
        return (optax.apply_updates(params, change), slot), None

    def measured(params, seed):
        return np.asarray(jax.lax.map(lambda key: loss(params, key)[1], jax.random.split(jax.random.key(seed), 600)))

    with jax.numpy_dtype_promotion("standard"):  # of optax
        start = params, optimizer.init(params)
        (fitted, _), _ = jax.jit(lambda *xs: jax.lax.scan(update, *xs))(start, jax.random.split(jax.random.key(2), 300))
    return measured(params, 3), measured(fitted, 4)


@pytest.mark.parametrize(
    "weighting",
    [diffusion.simple(), diffusion.min_snr(largest=2.0), diffusion.sigmoid(bias=1.0)],
    ids=lambda each: each.label[:20],
)
@pytest.mark.thorough
def test_weights_change_the_loss_and_not_the_bound(weighting):
    with jax.enable_x64(True):
        schedule = diffusion.cosine(start=-4.0, end=4.0)
        gamma = jnp.linspace(-4.0, 4.0, 20_001)
        # By quadrature over γ: dt = dγ/γ′, with ‖ε − ε̂‖² of the best denoiser e^−γ E‖x − x̂‖².
        _, slope = schedule.slope(jnp.linspace(0.0, 1.0, 20_001))
        at, _ = schedule.slope(jnp.linspace(0.0, 1.0, 20_001))
        noise = np.exp(-np.asarray(at)) * gaussian_data.error(np.asarray(at))
        formula = {
            "steps weighted to the mean of ‖": lambda: noise,
            "steps weighted to the mean of m": lambda: (
                np.minimum(np.exp(-np.asarray(at)), 2.0) * gaussian_data.error(np.asarray(at))
            ),
            "steps weighted by sigmoid(1 − l": lambda: (
                noise * np.asarray(slope) / 2 / (1 + np.exp(-1 - np.asarray(at)))
            ),
        }[weighting.label[:31]]()
        expected = np.mean((formula[1:] + formula[:-1]) / 2)
        del gamma
        weighted = problem(schedule, best(schedule), steps=None, weighting=weighting)
        plain = problem(schedule, best(schedule), steps=None)
        loss = (
            draws(weighted, NONE) - draws(weighted, NONE, metric="kl/z/prior") - draws(weighted, NONE, metric="nll/x")
        )
        assert z_score(loss, expected) < 4.26
        assert z_score(loss, 1.03 * expected) > 4.26
        np.testing.assert_allclose(draws(weighted, NONE, metric="elbo"), draws(plain, NONE, metric="elbo"), rtol=1e-9)
        assert weighting.label in vifx.explain(weighted, {"x": jnp.ones((4, 2))})
