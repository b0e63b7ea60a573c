"""Logistics on 8-bit pixels, and their mixtures, against scipy, enumeration and autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import DiscretizedLogistic, MixtureOfDiscretizedLogistics

PIXELS = np.arange(256)
CASES = [(0.0, -2.0), (0.9, -3.0), (-1.4, -1.0), (0.1, -6.0), (0.0, 2.0)]


def reference(loc, log_scale):
    """Bin probabilities as differences of scipy's distribution function."""
    edges = np.concatenate([[-np.inf], (PIXELS[:-1] + 0.5 - 127.5) / 127.5, [np.inf]])
    upper = scipy.stats.logistic.sf(edges, loc, np.exp(log_scale))
    lower = scipy.stats.logistic.cdf(edges, loc, np.exp(log_scale))
    return np.where(edges[1:] > loc, -np.diff(upper), np.diff(lower))


@pytest.mark.parametrize(("loc", "log_scale"), CASES)
def test_probabilities_are_scipys_and_sum_to_one(x64, loc, log_scale):
    log_prob = DiscretizedLogistic(jnp.array([loc]), jnp.array([log_scale])).log_prob(jnp.asarray(PIXELS)[:, None])
    probs = np.exp(np.asarray(log_prob)[:, 0])
    np.testing.assert_allclose(probs, reference(loc, log_scale), rtol=1e-9, atol=1e-300)
    assert abs(probs.sum() - 1) < 1e-13


@pytest.mark.parametrize("shades", [2, 17])
def test_of_fewer_shades_each_has_its_bin(x64, shades):
    loc, log_scale, half = 0.3, -1.2, (shades - 1) / 2
    few = DiscretizedLogistic(jnp.asarray(loc), jnp.asarray(log_scale), shades=shades)
    pixels = few.enumerate_support()
    np.testing.assert_array_equal(pixels, np.rint(np.arange(shades) * 255 / (shades - 1)))
    edges = np.concatenate([[-np.inf], (np.arange(shades - 1) + 0.5 - half) / half, [np.inf]])
    expected = np.diff(scipy.stats.logistic.cdf(edges, loc, np.exp(log_scale)))
    every = np.exp(np.asarray(few.log_prob(jnp.asarray(PIXELS, jnp.uint8))))
    np.testing.assert_allclose(every[np.asarray(pixels)], expected, rtol=1e-9)
    assert np.count_nonzero(every) == shades
    mean = expected @ np.asarray(pixels)
    np.testing.assert_allclose([few.mean, few.variance], [mean, expected @ (np.asarray(pixels) - mean) ** 2], rtol=1e-9)
    drawn = np.asarray(few.sample(jax.random.key(0), (20_000,)))
    counts = np.array([(drawn == pixel).sum() for pixel in np.asarray(pixels)])
    assert drawn.dtype == np.uint8
    assert counts.sum() == len(drawn)
    assert scipy.stats.chisquare(counts, expected * len(drawn)).pvalue > 1e-4


def test_refuses_numbers_of_shades_that_8_bits_do_not_have():
    with pytest.raises(ValueError, match=r"shades must be .* got 257"):
        DiscretizedLogistic(jnp.zeros(()), jnp.zeros(()), shades=257)


@pytest.mark.first(1)
@pytest.mark.parametrize("loc", [-80.0, -1.0, 0.0, 1.0, 80.0])
@pytest.mark.parametrize("log_scale", [-80.0, -7.0, 0.0, 80.0])
def test_finite_in_value_and_gradient_at_extremes(loc, log_scale):
    def total(parameters):
        return DiscretizedLogistic(parameters[0], parameters[1]).log_prob(jnp.asarray(PIXELS, jnp.uint8))

    parameters = jnp.array([loc, log_scale])
    assert np.all(np.isfinite(jax.jit(total)(parameters)))
    assert np.all(np.isfinite(jax.jit(jax.jacrev(total))(parameters)))


@pytest.mark.parametrize("log_scale", [-3.0, 0.0, 5.0])
def test_single_precision_sums_to_one(log_scale):
    log_prob = DiscretizedLogistic(jnp.asarray(0.3), jnp.asarray(log_scale)).log_prob(jnp.asarray(PIXELS, jnp.uint8))
    assert log_prob.dtype == jnp.float32
    assert abs(np.exp(np.asarray(log_prob, np.float64)).sum() - 1) < 1e-5


@pytest.mark.parametrize("pixel", [0, 1, 130, 254, 255])
def test_gradient_is_that_of_the_difference_of_sigmoids(x64, pixel):
    def direct(parameters):
        loc, scale = parameters[0], jnp.exp(parameters[1])
        centred = (pixel - 127.5) / 127.5
        upper = 1.0 if pixel == 255 else jax.nn.sigmoid((centred + 1 / 255 - loc) / scale)
        lower = 0.0 if pixel == 0 else jax.nn.sigmoid((centred - 1 / 255 - loc) / scale)
        return jnp.log(upper - lower)

    def ours(parameters):
        return DiscretizedLogistic(parameters[0], parameters[1]).log_prob(jnp.asarray(pixel))

    parameters, step = np.array([0.2, -1.5]), 1e-6
    slope, expected = jax.jit(lambda at: (jax.grad(ours)(at), jax.grad(direct)(at)))(parameters)
    np.testing.assert_allclose(slope, expected, rtol=1e-9)
    value = jax.jit(ours)
    by_difference = [(value(parameters + d) - value(parameters - d)) / (2 * step) for d in step * np.eye(2)]
    np.testing.assert_allclose(slope, by_difference, rtol=1e-6)


def test_mean_and_variance_by_enumeration(x64):
    loc, log_scale = (jnp.asarray(column) for column in np.array(CASES).T)
    distribution = DiscretizedLogistic(loc, log_scale)
    support = distribution.enumerate_support(expand=False)
    assert support.shape == (256, 1)
    assert not distribution.has_rsample
    probs, values = np.exp(np.asarray(distribution.log_prob(support))), np.asarray(support)
    mean = (probs * values).sum(0)
    np.testing.assert_allclose(distribution.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(distribution.variance, (probs * (values - mean) ** 2).sum(0), rtol=1e-9)


@pytest.mark.parametrize(("loc", "log_scale"), [(0.0, -2.0), (-0.9, -1.0), (0.2, -4.5)])
def test_samples_pass_chi_square(loc, log_scale):
    draws = DiscretizedLogistic(jnp.asarray(loc), jnp.asarray(log_scale)).sample(jax.random.key(0), (50_000,))
    assert draws.dtype == jnp.uint8
    assert_chi_square(np.asarray(draws), reference(loc, log_scale))


def assert_chi_square(draws, probs):
    counts, expected = np.bincount(draws, minlength=256), probs * draws.size
    common = expected > 5
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum() + 1e-9)
    assert scipy.stats.chisquare(counts, expected, sum_check=False).pvalue > 1e-4


def test_scaled_pixels_are_refused():
    with pytest.raises(TypeError, match=r"integer pixels 0\.\.255, but has dtype float32.*Pixels"):
        DiscretizedLogistic(jnp.zeros(3), jnp.zeros(3)).log_prob(jnp.zeros(3))


def mixture(dtype=None):
    logits, loc, log_scale = (
        jnp.array([[0.3, -1.0, 0.5]]),
        jnp.array([[-0.8, 0.1, 0.9]]),
        jnp.array([[-3.0, -2.0, -4.0]]),
    )
    return [array.astype(dtype) if dtype else array for array in (logits, loc, log_scale)]


def mixture_reference(logits, loc, log_scale):
    weights = scipy.special.softmax(np.asarray(logits, np.float64)[0])
    locs, log_scales = np.asarray(loc, np.float64)[0], np.asarray(log_scale, np.float64)[0]
    return sum(w * reference(m, s) for w, m, s in zip(weights, locs, log_scales, strict=True))


@pytest.mark.thorough
def test_mixture_is_the_weighted_sum(x64):
    parameters = mixture()
    distribution = MixtureOfDiscretizedLogistics(*parameters)
    assert (distribution.batch_shape, distribution.event_shape) == ((1,), ())
    probs = np.exp(np.asarray(distribution.log_prob(distribution.enumerate_support(expand=False))))[:, 0]
    np.testing.assert_allclose(probs, mixture_reference(*parameters), rtol=1e-9)
    assert abs(probs.sum() - 1) < 1e-13
    mean = (probs * PIXELS).sum()
    np.testing.assert_allclose(distribution.mean, [mean], rtol=1e-12)
    np.testing.assert_allclose(distribution.variance, [(probs * (PIXELS - mean) ** 2).sum()], rtol=1e-10)


@pytest.mark.thorough
def test_mixture_samples_pass_chi_square():
    parameters = mixture()
    draws = MixtureOfDiscretizedLogistics(*parameters).sample(jax.random.key(1), (50_000,))
    assert draws.dtype == jnp.uint8
    assert_chi_square(np.asarray(draws)[:, 0], mixture_reference(*parameters))


@pytest.mark.thorough
def test_mixture_is_finite_at_extremes():
    def total(parameters):
        return MixtureOfDiscretizedLogistics(*parameters).log_prob(jnp.asarray(PIXELS, jnp.uint8)[:, None]).sum()

    extremes = tuple(80.0 * array for array in (*mixture()[:2], jnp.array([[-1.0, 1.0, 0.0]])))
    value, slopes = jax.value_and_grad(total)(extremes)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)


@pytest.mark.thorough
def test_image_event_declared():
    zeros = jnp.zeros((2, 4, 4, 3, 5))
    distribution = MixtureOfDiscretizedLogistics(zeros, zeros, zeros).to_event(3)
    pixels = jnp.full((2, 4, 4, 3), 128, jnp.uint8)
    expected = 48 * np.log(reference(0.0, 0.0)[128])
    np.testing.assert_allclose(distribution.log_prob(pixels), [expected, expected], rtol=1e-5)


@pytest.mark.parametrize("shades", [17, 256])
def test_shades_pass_through_compiled_functions(shades):
    logistic = DiscretizedLogistic(jnp.zeros((3,)), jnp.zeros((3,)), shades=shades)
    mixture = MixtureOfDiscretizedLogistics(*(jnp.zeros((3, 2)) for _ in range(3)), shades=shades)
    value = jnp.zeros((3,), jnp.uint8)
    for distribution in (logistic, mixture):
        passed = jax.jit(lambda distribution: distribution)(distribution)
        assert passed.enumerate_support().shape == (shades, 3)
        inside = jax.jit(lambda distribution, value: distribution.to_event(1).log_prob(value))(distribution, value)
        np.testing.assert_allclose(inside, jnp.sum(distribution.log_prob(value)), rtol=1e-6)
