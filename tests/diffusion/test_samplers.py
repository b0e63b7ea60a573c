"""Samplers, the probability flow and guidance where the best denoiser is known."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from diffusion.gaussian_data import COV, MEAN, best, rows, z_score

import vifx
from vifx import data, diffusion, nets, networks, training
from vifx.distributions import MultivariateNormal

VARIANCES = ("preserving", "exploding")


def schedule(variance="preserving"):
    return diffusion.cosine(start=-9.0, end=9.0, variance=variance)


def drawn(noise, sampler, count, **options):
    net = diffusion.reverse(best(noise), noise, (2,), sampler=sampler, **options)
    chain = net.apply(*net.init(jax.random.key(0)))[0]
    return jax.jit(lambda key: chain.sample(key, (count,)))(jax.random.key(1))


def gap(paths, noise):
    """How far the map from the prior to z_0 is from the exact one, which is affine; and that one from the data's law.

    Along an eigenvector of variance s, ``z_t`` has the variance ``α_t² s + σ_t²`` for every t.
    """
    ends = jax.tree.map(np.asarray, noise.ends)
    z, last = np.asarray(paths[:, 0], np.float64), np.asarray(paths[:, 1], np.float64)
    design = np.concatenate([last, np.ones((len(last), 1))], 1)
    found, rest, *_ = np.linalg.lstsq(design, z, rcond=None)
    assert np.max(rest) < 1e-6 * len(z), "the map is not affine"
    values, vectors = np.linalg.eigh(COV)
    first, then = (ends.alpha[end] ** 2 * values + ends.sigma[end] ** 2 for end in (0, 1))
    exact = vectors @ np.diag(np.sqrt(first / then)) @ vectors.T
    moved = exact * ends.norm[1]
    assert np.max(np.abs(moved @ moved.T / ends.alpha[0] ** 2 - COV)) < 1e-3, "the prior is not the last marginal"
    shift = ends.alpha[0] * MEAN - exact @ (ends.alpha[1] * MEAN)
    return max(np.max(np.abs(found[:2] - exact)) * ends.norm[1], np.max(np.abs(found[2] - shift)))


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.thorough
def test_deterministic_samplers_map_the_prior_to_the_covariance_of_the_data(variance):
    """Of a normal law the map is affine. DDIM is of first order and Heun's method of second."""
    with jax.enable_x64(True):
        noise = schedule(variance)
        for make, order in ((diffusion.ddim, 1), (partial(diffusion.heun, rho=None), 2)):
            few, more = (gap(drawn(noise, make(steps=steps), 16), noise) for steps in (200, 400))
            assert more < 0.02
            assert abs(np.log2(few / more) - order) < 0.3, (few, more)
        assert gap(drawn(noise, diffusion.heun(steps=100), 16), noise) < 2e-3


@pytest.mark.thorough
def test_samplers_with_noise_have_the_law_of_the_data_and_of_the_chain():
    with jax.enable_x64(True):
        noise = schedule()
        expected = {1: MEAN, 2: np.diagonal(COV) + MEAN**2}
        for sampler in (diffusion.ancestral(steps=400), diffusion.ddim(steps=400, eta=0.5)):
            x = np.asarray(drawn(noise, sampler, 4000)[:, 0]) / float(noise.ends.alpha[0])
            for power, value in expected.items():
                assert z_score(x**power, value) < 4.26, sampler.label
            assert z_score(x**2, 1.2 * expected[2]) > 4.26
        # A chain of T steps draws what the ancestral sampler of T steps does.
        whole = diffusion.reverse(best(noise), noise, (2,), steps=20)
        chain = whole.apply(*whole.init(jax.random.key(0)))[0]
        path = jax.jit(lambda key: chain.sample(key, (4000,)))(jax.random.key(1))
        np.testing.assert_allclose(path[:, 0], drawn(noise, diffusion.ancestral(steps=20), 4000)[:, 0], rtol=1e-9)


def test_one_step_of_ancestral_sampling_is_the_bridge():
    with jax.enable_x64(True):
        noise = diffusion.cosine(start=-2.0, end=1.0)
        net = diffusion.reverse(best(noise), noise, (2,), steps=1)
        chain = net.apply(*net.init(jax.random.key(0)))[0]
        path = jax.jit(lambda key: chain.sample(key, (4000,)))(jax.random.key(1))
        s, t = (diffusion.NoiseLevel(*(jnp.full(4000, each[end]) for each in noise.ends)) for end in (0, 1))
        told = chain.denoise(path[:, 1], t.gamma).data
        law = diffusion.bridge(path[:, 1], told, s, t)
        standard = (path[:, 0] - law.mean) / jnp.sqrt(law.variance)
        assert z_score(standard, np.zeros(2)) < 4.26
        assert z_score(standard**2, np.ones(2)) < 4.26


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.thorough
def test_the_flow_has_the_density_of_the_data(variance):
    with jax.enable_x64(True):
        noise = diffusion.cosine(start=-9.0, end=13.0, variance=variance)
        reverse = diffusion.reverse(best(noise), noise, (2,))
        flow = diffusion.flow(reverse, noise, steps=64)
        base = vifx.standard_normal(2)
        joint = vifx.Joint(vifx.transformed("z", base, flow, name="denoiser"))
        z = rows(jax.random.key(2), 64)
        params, state = joint.init(jax.random.key(0), {}, examples=64)
        found = jax.jit(lambda z: joint.log_prob(params, state, {"z": z})["z"])(z)
        first = noise.ends
        a, s = float(first.alpha[0]), float(first.sigma[0])
        law = MultivariateNormal(jnp.asarray(a * MEAN), scale_tril=jnp.linalg.cholesky(a**2 * COV + s**2 * np.eye(2)))
        exact = law.log_prob(z)
        assert float(jnp.max(jnp.abs(found - exact))) / np.log(2) < 1e-2
        assert abs(float(jnp.mean(found - exact))) / np.log(2) < 1e-3
        moved, log_det = flow.forward(params["denoiser"], state["denoiser"], z)
        back, inverse_log_det = flow.inverse(params["denoiser"], state["denoiser"], moved)
        np.testing.assert_allclose(back, z, atol=1e-5)
        np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-5)


def test_a_trained_chain_and_its_flow_have_the_same_parameters():
    noise = diffusion.learned(start=-6.0, end=5.0)
    reverse = diffusion.reverse(linear(), noise, (2,))
    flow = diffusion.flow(reverse, noise)
    given = jnp.zeros((3, 2))
    one, other = reverse.init(jax.random.key(0)), flow.init(jax.random.key(0), given, None)
    assert jax.tree.structure(one[0]) == jax.tree.structure(other[0])
    path = flow.forward(one[0], other[1], given)
    assert path[0].shape == (3, 2)


def linear():
    def init(key, z, t, *given):
        return {"w": 0.3 * jnp.eye(2), "c": jnp.array([[1.0, -1.0]])}

    def apply(params, z, t, *given):
        return z @ params["w"] + (given[-1] * params["c"] if given else 0)

    return nets.from_functions(init, apply)


def conditional(**options):
    """A denoiser that adds (1, −1) where the condition counts."""
    net = diffusion.reverse(linear(), diffusion.cosine(), (2,), **options)
    y = jnp.zeros((5, 1))
    params, state = net.init(jax.random.key(0), y)

    def at(key=None, *, train=False):
        chain, _ = net.apply(params, state, y, key=key, train=train)
        return chain.denoise(jnp.zeros((5, 2)), jnp.zeros(5)).output

    return at


def test_guidance_moves_away_from_the_denoiser_without_the_condition():
    np.testing.assert_allclose(conditional(guidance=1.5)(), np.tile([2.5, -2.5], (5, 1)))
    np.testing.assert_allclose(conditional(drop=0.2)(), np.tile([1.0, -1.0], (5, 1)))
    np.testing.assert_allclose(conditional(drop=0.2, guidance=-1.0)(), np.zeros((5, 2)))


def test_conditions_are_dropped_as_often_as_stated_and_in_training_alone():
    at = conditional(drop=0.25)
    keys = jax.random.split(jax.random.key(3), 2000)
    kept = jax.vmap(lambda key: at(key, train=True)[:, 0])(keys).reshape(-1)
    assert set(np.unique(kept)) == {0.0, 1.0}
    assert z_score(kept, 0.75) < 4.26
    assert z_score(kept, 0.7) > 4.26
    with pytest.raises(ValueError, match="dropped at random in training, which needs a key"):
        at(train=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: diffusion.forward(diffusion.cosine(), steps=0), r"forward: steps must be an integer ≥ 1, got 0"),
        (lambda: diffusion.forward(diffusion.cosine(), times="all"), r"times='all' sums T steps"),
        (
            lambda: diffusion.forward(diffusion.cosine(), times="random"),
            r"times must be one of low_discrepancy, uniform",
        ),
        (lambda: diffusion.forward(diffusion.learned(), steps=10), r"learned.*path of 10 steps"),
        (lambda: diffusion.importance(), r"give either weights"),
        (lambda: diffusion.importance((1.0, 0.0)), r"weights must be positive and finite"),
        (lambda: diffusion.importance((1.0, 2.0), bins=3), r"bins is for learned=True"),
        (
            lambda: diffusion.reverse(linear(), diffusion.cosine(), (2,), steps=0),
            r"reverse: steps must be an integer ≥ 1",
        ),
        (
            lambda: diffusion.reverse(linear(), diffusion.cosine(), (0,)),
            r"reverse: shape\[0\] must be an integer ≥ 1, got 0",
        ),
        (
            lambda: diffusion.reverse(linear(), diffusion.cosine(), (2,), predicts="eps"),
            r"predicts must be one of noise",
        ),
        (lambda: diffusion.reverse(linear(), diffusion.cosine(), (2,), drop=1.5), r"drop must be a number in \[0, 1\]"),
        (
            lambda: diffusion.reverse(linear(), diffusion.cosine(), (2,), steps=5, sampler=diffusion.ddim(steps=3)),
            r"sampler is for continuous time",
        ),
        (
            lambda: diffusion.reverse(linear(), diffusion.cosine(), (2,), guidance=2.0).init(jax.random.key(0)),
            r"guidance=2 needs conditions, but the factor has no parents",
        ),
        (
            lambda: diffusion.reverse(linear(), diffusion.cosine(), (2,), drop=0.1).init(jax.random.key(0)),
            r"drop=0.1 needs conditions",
        ),
        (lambda: diffusion.ddim(steps=0), r"ddim: steps must be an integer ≥ 1"),
        (lambda: diffusion.ddim(eta=2.0), r"eta must be a number in \[0, 1\]"),
        (lambda: diffusion.heun(rho=0.0), r"rho must be a finite number > 0"),
        (lambda: diffusion.min_snr(largest=0.0), r"largest must be a finite number > 0"),
        (lambda: compared(steps=3), r"forward chain has steps=None and the reverse chain 3"),
        (
            lambda: compared(noise=diffusion.cosine(start=-5.0)),
            r"forward chain has schedule=cosine\(start=-13.3, end=5.0\)",
        ),
        (lambda: compared(shape=(3,)), r"give the reverse chain the shape of the data, \[2\]"),
        (lambda: compared().log_prob(jnp.zeros((2, 2))), r"no density of its ends; compare it with forward"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def compared(noise=None, shape=(2,), **options):
    net = diffusion.reverse(best(diffusion.cosine()), noise or diffusion.cosine(), shape, **options)
    chain = net.apply({"network": {}, "schedule": {}}, {"network": {}})[0]
    diffusion.forward(diffusion.cosine())(jnp.zeros((4, 2))).kl_estimate(chain)
    return chain


def sampled(joint, *arguments):
    return joint.sample(*arguments).values["x"]


@pytest.mark.thorough
def test_a_conditional_diffusion_is_trained_and_sampled_with_guidance():
    """Two classes of points around −2 and 2: samples are of the class that is asked for, and more so with guidance."""
    noise = diffusion.linear_log_snr(start=-6.0)
    denoiser = networks.PointDenoiser((32,), conditions_dropped=True)

    def generative(**options):
        reverse = diffusion.reverse(denoiser, noise, (1,), predicts="v", drop=0.2, **options)
        decoder = vifx.factor("x | z", diffusion.normal(noise))
        return vifx.Joint(vifx.evidence("y"), vifx.factor("z | y", reverse, name="denoiser"), decoder)

    forward = vifx.factor("z | x", diffusion.forward(noise))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x", "y"), forward), generative())
    random = np.random.default_rng(0)
    y = (np.arange(2000) % 2).astype(np.float32)[:, None]
    x = (4 * y - 2 + random.normal(size=(2000, 1))).astype(np.float32)
    found = training.fit(
        jax.random.key(0),
        training.optimize(objective, optax.adam(5e-3)),
        objective,
        data.Resident({"x": x, "y": y}, 200, 0),
        steps=600,
        observe=None,
    ).train_state
    means = []
    for guidance in (0.0, 2.0):
        joint = generative(sampler=diffusion.heun(steps=12), guidance=guidance)
        drawn = jax.jit(partial(sampled, joint))(jax.random.key(1), found.params, found.state, {"y": jnp.asarray(y)})
        samples = np.asarray(drawn)
        means.append([float(samples[y == label].mean()) for label in (0, 1)])
    np.testing.assert_allclose(means[0], [-2, 2], atol=0.3)
    assert means[1][0] < means[0][0] - 0.1
    assert means[1][1] > means[0][1] + 0.1
