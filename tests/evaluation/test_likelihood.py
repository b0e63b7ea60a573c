"""Likelihoods of flows whose density is known, and the Gaussian that fits best."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.known_models import PIXELS, model, scaled
from scipy import stats

import vifx
from vifx import evaluation, flows

generator = np.random.default_rng(0)


class Uniform:
    """On [0, 1) for images of six pixels; −∞ outside."""

    def sample(self, key, sample_shape=()):
        return jax.random.uniform(key, (*sample_shape, 2, 3, 1))

    def log_prob(self, value):
        inside = (value >= 0) & (value < 1)
        return jnp.where(inside, 0.0, -jnp.inf).sum(axis=(-3, -2, -1))


@pytest.mark.parametrize(("shades", "bits"), [(256, 8.0), (17, np.log2(17))])
def test_the_uniform_density_has_as_many_bits_as_there_are_shades(shades, bits):
    generative = vifx.Joint(vifx.transformed("x", Uniform(), flows.identity(), name="flow"))
    found = evaluation.measure_likelihood(generative, PIXELS, shades=shades, draws=2)(
        jax.random.key(0), {"flow": {}}, {"flow": {}}
    )
    assert found["bits_per_dim"].mean == (bits if shades == 256 else pytest.approx(bits, rel=1e-14))
    assert found["bits_per_dim"].standard_error <= 1e-15 * bits
    assert found["nll/pixels"].mean == pytest.approx(6 * np.log(shades), rel=1e-14)


def test_bits_per_dim_average_the_density_over_the_noise():
    """Of N(0, 1/16) on pixels: each pixel's mean log density over its bin, by quadrature, within the noise of draws."""
    generative, params, state = model(scaled(4.0))
    found = evaluation.measure_likelihood(generative, PIXELS, shades=256, draws=3)(jax.random.key(0), params, state)
    u = (np.arange(200) + 0.5) / 200
    x = (PIXELS["x"].reshape(30, 6, 1) + u) / 256
    expected = -stats.norm(0, 0.25).logpdf(x).mean(axis=2).sum(axis=1)
    np.testing.assert_allclose(found["nll/x"].values, expected, atol=0.15)
    np.testing.assert_allclose(
        found["bits_per_dim"].values, (found["nll/x"].values / 6 + np.log(256)) / np.log(2), rtol=1e-12
    )
    np.testing.assert_allclose(found["nll/pixels"].values, found["nll/x"].values + 6 * np.log(256), rtol=1e-12)
    one = evaluation.measure_likelihood(generative, PIXELS, shades=256, draws=1)(jax.random.key(0), params, state)
    noise = [np.std(f["nll/x"].values - expected) for f in (one, found)]
    assert noise[1] < noise[0] / 1.2


def test_the_interval_and_the_direction_of_the_bound_are_said():
    generative, params, state = model(scaled(4.0))
    found = evaluation.measure_likelihood(generative, PIXELS, shades=256, draws=3)(jax.random.key(0), params, state)
    low, high = found["bits_per_dim"].interval
    expected = f"upper bound, 3 dequantizations averaged; 95 % interval {low:.3f} to {high:.3f}"
    assert found["bits_per_dim"].note == expected.replace("-", "−")
    half = stats.norm.ppf(0.975) * np.std(found["bits_per_dim"].values, ddof=1) / np.sqrt(30)
    assert high - low == pytest.approx(2 * half, rel=1e-9)
    single = evaluation.measure_likelihood(generative, PIXELS, shades=256, draws=1)(jax.random.key(0), params, state)
    assert "1 dequantization averaged" in single["bits_per_dim"].note


def test_real_values_have_their_exact_likelihood():
    x = {"x": generator.normal(size=(20, 2, 3, 1)).astype(np.float32)}
    generative, params, state = model(scaled(2.0), shift=0.5)
    found = evaluation.measure_likelihood(generative, x)(jax.random.key(0), params, state)
    expected = -stats.norm(-0.25, 0.5).logpdf(x["x"].reshape(20, 6)).sum(axis=1)
    np.testing.assert_allclose(found["nll/x"].values, expected, rtol=1e-5)
    assert set(found) == {"nll/x"}
    monitored = evaluation.monitor_likelihood(generative, x)(jax.random.key(0), params, state)
    np.testing.assert_allclose(monitored["loss"].values, expected, rtol=1e-5)


def test_the_monitor_has_the_same_noise_at_every_key_and_batch_size():
    generative, params, state = model(scaled(4.0))
    one, other = (
        evaluation.monitor_likelihood(generative, PIXELS, shades=17, batch_size=size)(
            jax.random.key(key), params, state
        )
        for key, size in ((0, 30), (1, 7))
    )
    np.testing.assert_allclose(one["loss"].values, other["loss"].values, rtol=1e-6)
    assert one["bits_per_dim"].mean == pytest.approx((one["loss"].mean / 6 + np.log(17)) / np.log(2), rel=1e-9)
    noisy = evaluation.measure_likelihood(generative, PIXELS, shades=17)
    one, other = (noisy(jax.random.key(key), params, state)["nll/x"].values for key in (0, 1))
    assert np.abs(one - other).min() > 0


def test_the_gaussian_is_that_of_the_logits():
    """Bits of pixels that are normal logits, to the noise of the sample: the entropy of the logistic-normal."""
    logits = np.random.default_rng(1).normal(size=(6000, 2, 2, 1)) * 0.7
    pixels = np.floor(256 / (1 + np.exp(-logits))).astype(np.uint8)
    train, test = {"x": pixels[:4000]}, {"x": pixels[4000:]}
    found = evaluation.measure_gaussian(train, test, alpha=1e-6)(jax.random.key(0), {}, {})["bits_per_dim/gaussian"]
    z = 0.7 * stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    x = 1 / (1 + np.exp(-z))
    entropy = np.mean(-stats.norm(0, 0.7).logpdf(z) + np.log(x * (1 - x)))
    assert found.mean == pytest.approx((entropy + np.log(256)) / np.log(2), abs=4 * found.standard_error + 0.003)
    assert found.standard_error < 0.02


@pytest.mark.parametrize("draws", [0, 1.5, True])
def test_draws_are_a_positive_integer(draws):
    with pytest.raises((TypeError, ValueError), match="draws"):
        evaluation.measure_likelihood(model(scaled(1.0))[0], PIXELS, shades=256, draws=draws)


def test_gaussian_nll_is_scipys_at_the_fitted_moments():
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(4, 4))
    train, test = generator.normal(size=(50, 4)) @ mixing + 3, generator.normal(size=(7, 4)) @ mixing
    fitted = stats.multivariate_normal(train.mean(axis=0), np.cov(train, rowvar=False, bias=True))
    np.testing.assert_allclose(evaluation.gaussian_nll(train, test), -fitted.logpdf(test), rtol=1e-10)


def test_no_other_gaussian_fits_the_training_points_better():
    train = np.random.default_rng(1).normal(size=(40, 3)) ** 3
    best = evaluation.gaussian_nll(train, train).mean()
    mean, covariance = train.mean(axis=0), np.cov(train, rowvar=False, bias=True)
    for factor in (0.9, 1.1):
        assert best < -stats.multivariate_normal(mean, factor * covariance).logpdf(train).mean()
        assert best < -stats.multivariate_normal(factor * mean + 0.1, covariance).logpdf(train).mean()


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.zeros((5, 2)), np.zeros((3, 3)), r"same dimensions, got \(5, 2\) and \(3, 3\)"),
        (np.zeros((5, 2, 2)), np.zeros((3, 2, 2)), "flatten images"),
        (np.ones((5, 2)), np.ones((3, 2)), r"singular covariance \(5 examples, 2 dimensions\)"),
    ],
)
def test_bad_points(train, test, message):
    with pytest.raises(ValueError, match=message):
        evaluation.gaussian_nll(train, test)
