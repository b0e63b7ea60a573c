"""The normal distribution against scipy and NumPyro's registry."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
import scipy.stats

from vifx.distributions import Normal, standard_normal


def test_log_prob_is_scipys_also_for_several_samples(x64):
    rng = np.random.default_rng(0)
    loc, scale, value = rng.normal(size=(5, 3)), rng.uniform(0.1, 3, (5, 3)), rng.normal(size=(4, 5, 3))
    expected = scipy.stats.norm.logpdf(value, loc, scale).sum(-1)
    distribution = Normal(jnp.asarray(loc), jnp.asarray(scale)).to_event(1)
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value)), expected, rtol=1e-13, atol=1e-13)


def test_standard_normal_has_event_and_no_batch(x64):
    value = np.random.default_rng(0).normal(size=(6, 2, 3))
    prior = standard_normal(2, 3)
    assert (prior.batch_shape, prior.event_shape) == ((), (2, 3))
    np.testing.assert_allclose(
        prior.log_prob(jnp.asarray(value)), scipy.stats.norm.logpdf(value).sum((1, 2)), rtol=1e-13
    )
    draws = prior.sample(jax.random.key(0), (20_000,))
    assert scipy.stats.kstest(np.asarray(draws).ravel(), "norm").pvalue > 1e-4


def test_samples_are_reparametrized():
    loc, scale = jnp.arange(6.0).reshape(2, 3), jnp.full((2, 3), 0.5)
    key = jax.random.key(3)

    def total(loc, scale):
        return jnp.sum(Normal(loc, scale).sample(key, (4,)))

    by_loc, by_scale = jax.jit(jax.grad(total, (0, 1)))(loc, scale)
    noise = (Normal(loc, scale).sample(jax.random.clone(key), (4,)) - loc[None]) / scale[None]
    np.testing.assert_allclose(by_loc, 4.0)
    np.testing.assert_allclose(by_scale, noise.sum(0), rtol=1e-5, atol=1e-5)
    assert Normal(loc, scale).to_event(1).has_rsample


def test_samples_have_the_mean_and_the_scale():
    loc, scale = jnp.array([-2.0, 0.0, 5.0]), jnp.array([0.1, 1.0, 7.0])
    draws = np.asarray(Normal(loc, scale).sample(jax.random.key(0), (40_000,)))
    for column, (mean, deviation) in enumerate(zip(loc, scale, strict=True)):
        assert scipy.stats.kstest(draws[:, column], scipy.stats.norm(mean, deviation).cdf).pvalue > 1e-4


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_samples_have_the_dtype_of_the_parameters(dtype):
    distribution = Normal(jnp.zeros(3, dtype), jnp.ones(3, dtype))
    draws = distribution.sample(jax.random.key(0), (2,))
    assert draws.dtype == dtype
    assert distribution.log_prob(draws).dtype == dtype


def test_takes_part_in_registered_closed_forms():
    first, second = Normal(jnp.array([0.3]), jnp.array([0.5])), Normal(jnp.array([-0.2]), jnp.array([2.0]))
    expected = np.log(2.0 / 0.5) + (0.5**2 + 0.5**2) / (2 * 2.0**2) - 0.5
    np.testing.assert_allclose(numpyro.kl_divergence(first, second), [expected], rtol=1e-6)


def test_crosses_jit_as_a_pytree():
    distribution = Normal(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])).to_event(1)
    copy = jax.jit(lambda d: d)(distribution)
    assert (copy.batch_shape, copy.event_shape) == ((1,), (2,))
    np.testing.assert_array_equal(copy.mean, distribution.mean)
    np.testing.assert_array_equal(copy.variance, [[9.0, 16.0]])
