"""Temperature scales the standard deviation and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
import scipy.stats

from vifx.distributions import Normal, standard_normal, tempered, uniform_categorical


@pytest.mark.parametrize(
    "distribution",
    [
        lambda: Normal(jnp.array([1.0, -2.0, 0.5]), jnp.array([0.5, 2.0, 1.0])).to_event(1),
        lambda: Normal(0.5, 2.0).expand((3,)).to_event(1),
        lambda: numpyro.Normal(jnp.array([1.0, -2.0, 0.5]), jnp.array([0.5, 2.0, 1.0])).to_event(1),
    ],
)
def test_density_is_that_of_the_scaled_normal(distribution):
    distribution = distribution()
    value = jnp.array([0.3, 1.2, -0.7])
    cool = tempered(distribution, 0.7)
    mean, deviation = np.asarray(distribution.mean), 0.7 * np.sqrt(np.asarray(distribution.variance))
    assert (cool.batch_shape, cool.event_shape) == (distribution.batch_shape, distribution.event_shape)
    np.testing.assert_allclose(cool.log_prob(value), scipy.stats.norm.logpdf(value, mean, deviation).sum(), rtol=1e-5)
    np.testing.assert_allclose(cool.mean, mean)


def test_samples_shrink_towards_the_mean_by_the_temperature():
    distribution = Normal(jnp.array([[1.0, 5.0]]), jnp.array([[2.0, 3.0]])).to_event(1)
    plain = distribution.sample(jax.random.key(0))
    cool = tempered(distribution, 0.25).sample(jax.random.key(0))
    np.testing.assert_allclose(cool - distribution.mean, 0.25 * (plain - distribution.mean), rtol=1e-5)


def test_temperature_one_changes_nothing():
    prior = uniform_categorical(3)
    assert tempered(prior, 1.0) is prior


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_be_positive_and_finite(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number > 0, got"):
        tempered(standard_normal(2), temperature)


def test_distributions_without_a_scale_are_refused():
    with pytest.raises(ValueError, match=r"needs a normal distribution.*got Categorical"):
        tempered(uniform_categorical(3), 0.5)
