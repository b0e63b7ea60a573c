"""Simulation-based calibration: exact posteriors pass, wrong ones fail, and p-values are uniform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vifx
from vifx.distributions import Categorical, MultivariateNormal, Normal
from vifx.verification import calibrate
from vifx.verification.uniformity import pooled_width, rank_tests

WEIGHTS = np.array([[1.0, 0.5, 0.0], [0.2, -1.0, 0.3], [0.0, 0.4, 0.8], [1.0, 1.0, -0.5]])
NOISE = 0.7
COVARIANCE = np.linalg.inv(np.eye(3) + WEIGHTS.T @ WEIGHTS / NOISE**2)


def observed(z):
    return Normal(z @ jnp.asarray(WEIGHTS.T, z.dtype), jnp.asarray(NOISE, z.dtype)).to_event(1)


LINEAR = vifx.Joint(vifx.factor("z", vifx.standard_normal(3)), vifx.factor("x | z", observed))


def conjugate(draws=99, shift=0.0, scale=1.0):
    """The exact posterior of the linear model, moved by a share of its scale, or scaled."""
    factor = np.linalg.cholesky(COVARIANCE)

    def posterior(key, x):
        mean = jnp.asarray(COVARIANCE @ WEIGHTS.T / NOISE**2, x.dtype) @ x
        noise = scale * jax.random.normal(key, (draws, 3), x.dtype) + shift
        return mean[None] + noise @ jnp.asarray(factor.T, x.dtype)

    return posterior


def run(posterior, seed=0, **how):
    return calibrate(jax.random.key(seed), LINEAR, posterior, "z", **how)


def test_an_exact_posterior_passes():
    found = run(conjugate())
    assert found.p_value > 1e-4
    assert list(found.ranks) == ["z[0]", "z[1]", "z[2]"]
    for name, ranks in found.ranks.items():
        assert ranks.shape == (500,)
        assert abs(found.width[name] - 1) < 4.3 / np.sqrt(2 * 500)
        assert scipy.stats.kstest((ranks + 0.5) / 100, "uniform").pvalue > 1e-4
    assert repr(found).startswith(
        f"RankCalibration(500 simulations of 99 draws, p {found.p_value:.2g} over 3 quantities;"
    )


@pytest.mark.parametrize(
    ("wrong", "test", "words"),
    [
        ({"scale": 0.85}, "width", "too narrow by a factor of 1"),
        ({"scale": 1.2}, "width", "too wide by a factor of 1"),
        ({"shift": 0.35}, "bias", "the bias of z"),
    ],
    ids=["15 % too narrow", "20 % too wide", "biased"],
)
def test_a_wrong_posterior_fails(wrong, test, words):
    """By the test that is for it, for every seed that is tried."""
    for seed in range(3):
        found = run(conjugate(**wrong), seed)
        assert found.p_value < 1e-4
        every = [p for own in found.p_values.values() for p in own.values()] + [found.together.p_values["width"]]
        assert min(every) * 10 == pytest.approx(found.p_value)
        assert min(own[test] for own in found.p_values.values()) < 1e-3
        assert words in repr(found)


def test_the_power_of_the_tests():
    """Of 400 exact and 400 narrow posteriors: p-values are uniform, and narrow ones fail nine times in ten."""
    stream = np.random.default_rng(0)

    def tests(scale, count=400):
        true = stream.normal(size=(count, 500))
        return [rank_tests(stream.binomial(99, scipy.stats.norm.cdf(own / scale)), 99) for own in true]

    right = tests(1.0)
    for name in ("bias", "width", "shape"):
        assert scipy.stats.kstest([found.p_values[name] for found in right], "uniform").pvalue > 1e-4
    narrow = np.array([found.p_values["width"] for found in tests(0.85)])
    assert np.mean(narrow < 1e-4) > 0.85


@pytest.mark.thorough
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_power_of_all_widths_together(correlation):
    """Of three quantities that may depend on each other: p-values are uniform, narrow posteriors fail."""
    stream = np.random.default_rng(1)
    factor = np.linalg.cholesky((1 - correlation) * np.eye(3) + correlation)

    def tests(scale, count=400):
        true = scipy.stats.norm.cdf(np.einsum("ij,cjn->cin", factor, stream.normal(size=(count, 3, 500))) / scale)
        return np.array([pooled_width(list(stream.binomial(99, own)), 99).p_values["width"] for own in true])

    right = tests(1.0)
    assert scipy.stats.kstest(right, "uniform").pvalue > 1e-4
    assert np.mean(tests(0.85) < 1e-4) > (0.99 if correlation == 0 else 0.65)


def test_the_p_values_in_closed_form():
    """Of ranks that are all alike, and of exactly even ones."""
    even = rank_tests(np.repeat(np.arange(100), 5), 99)
    assert even.p_values["bias"] == pytest.approx(1.0)
    assert even.p_values["shape"] == pytest.approx(1.0)
    assert even.width == pytest.approx(1.0)
    same = rank_tests(np.full(100, 99), 99)
    scores = scipy.stats.norm.ppf((np.arange(100) + 0.5) / 100)
    last = scores[-1] / scores.std()
    assert same.width == pytest.approx(last)
    assert same.p_values["bias"] == pytest.approx(2 * scipy.stats.norm.sf(10 * last), rel=1e-6)
    uneven = np.concatenate(
        [np.repeat(np.arange(20), 2), np.repeat(np.arange(20, 100), [1] * 40 + [0] * 20 + [1] * 20)]
    )
    counts = np.histogram(uneven, np.arange(0, 101, 10))[0]
    assert len(uneven) == 100
    assert rank_tests(uneven, 99).p_values["shape"] == pytest.approx(scipy.stats.chisquare(counts).pvalue, rel=1e-6)


def test_ranks_are_counts(x64):
    """Against NumPy, of a quantity of one's own that sees the observation, with several draws at once and in chunks."""
    draws = np.linspace(-2, 2, 19)
    how = {"draws": 19, "simulations": 60, "quantities": {"lead": lambda z, x: z[0] - x[1]}}
    fixed = lambda key, x: jnp.broadcast_to(jnp.asarray(draws, x.dtype)[:, None], (19, 3))  # noqa: E731
    whole, parts = run(fixed, **how), run(fixed, chunk=7, **how)
    values = LINEAR.sample(jax.random.split(jax.random.key(0), 3)[0], {}, {}, examples=60).values
    expected = np.sum(draws[None] < np.asarray(values["z"])[:, :1], axis=1)
    np.testing.assert_array_equal(whole.ranks["lead"], expected)
    np.testing.assert_array_equal(parts.ranks["lead"], expected)


@pytest.mark.thorough
def test_a_finite_latent_with_ties_and_several_variables():
    """The exact posterior of a coin and a number passes, ties in random order; the number at a wrong coin fails."""
    joint = vifx.Joint(
        vifx.factor("y", Categorical(jnp.log(jnp.asarray([0.3, 0.7])))),
        vifx.factor("w", vifx.standard_normal(1)),
        vifx.factor(
            "x | y, w", lambda y, w: Normal(w + 1.5 * y[:, None].astype(w.dtype), jnp.asarray(1.0)).to_event(1)
        ),
    )

    def posterior(key, x, turn=0):
        """y by its odds, then w given both: ``w | x, y ~ N((x − 1.5 y)/2, 1/2)``, ``x | y ~ N(1.5 y, 2)``."""
        first, second = jax.random.split(key)
        odds = jnp.log(jnp.asarray(0.7 / 0.3)) + (1.5 * x[0] - 1.125) / 2
        y = jax.random.bernoulli(first, jax.nn.sigmoid(odds), (99,)).astype(jnp.int32)
        w = (x[0] - 1.5 * (y ^ turn).astype(jnp.float32)) / 2 + jax.random.normal(second, (99,)) / jnp.sqrt(2.0)
        return {"y": y, "w": w[:, None]}

    exact = calibrate(jax.random.key(1), joint, posterior, ("y", "w"))
    assert exact.p_value > 1e-4
    assert list(exact.ranks) == ["y", "w[0]"]
    assert calibrate(jax.random.key(1), joint, lambda key, x: posterior(key, x, 1), ("y", "w")).p_value < 1e-4


def test_the_prior_passes_but_for_quantities_that_see_the_observation():
    """Which is known of the method (Modrák et al., 2023); the log-density of the observation is such a quantity."""
    prior = lambda key, x: jax.random.normal(key, (99, 3), x.dtype)  # noqa: E731
    assert run(prior).p_value > 1e-4
    likelihood = {"log q(x | z)": lambda z, x: observed(z[None]).log_prob(x[None])[0]}
    assert run(prior, quantities=likelihood).p_value < 1e-4
    assert run(conjugate(), quantities=likelihood).p_value > 1e-4


def test_networks_of_the_joint_are_used():
    """A learned loading is among the parameters."""
    net = vifx.nets.from_functions(
        lambda key, z: jnp.zeros(()),
        lambda loading, z: MultivariateNormal(loading * z, jnp.eye(1)),
    )
    joint = vifx.Joint(vifx.factor("z", vifx.standard_normal(1)), vifx.factor("x | z", net, name="decoder"))

    def posterior(key, x):
        return 0.4 * x[None] + jnp.sqrt(0.2) * jax.random.normal(key, (99, 1))

    how = {"params": {"decoder": jnp.asarray(2.0)}, "state": {"decoder": {}}}
    assert calibrate(jax.random.key(2), joint, posterior, "z", **how).p_value > 1e-4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: run(conjugate(98)), ValueError, r"return 99 draws .*\[99, 3\].*, got .*\[98, 3\]"),
        (lambda: run(lambda key, x: jnp.full((99, 3), jnp.nan)), ValueError, r"'z\[0\]' is not finite in 500 of 500"),
        (lambda: run(conjugate(), simulations=10), ValueError, "simulations must be an integer ≥ 50, got 10"),
        (lambda: run(conjugate(), draws=1), ValueError, "draws must be an integer ≥ 9"),
        (lambda: run(conjugate(), quantities={"z": lambda z, x: z}), ValueError, "'z' must be a scalar, got the shape"),
        (lambda: run("exact"), TypeError, "posterior must be a function"),
        (lambda: calibrate(jax.random.key(0), LINEAR, conjugate(), "y"), ValueError, "has no variable 'y'"),
        (
            lambda: calibrate(jax.random.key(0), LINEAR, conjugate(), ("z", "x")),
            ValueError,
            "something must be observed",
        ),
        (
            lambda: calibrate(jax.random.key(0), vifx.Joint(vifx.evidence("x")), conjugate(), "x"),
            ValueError,
            "has evidence",
        ),
        (lambda: calibrate(jax.random.key(0), "joint", conjugate(), "z"), TypeError, "generative must be a Joint"),
        (lambda: calibrate(0, LINEAR, conjugate(), "z"), TypeError, r"give jax.random.key\(0\)"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
