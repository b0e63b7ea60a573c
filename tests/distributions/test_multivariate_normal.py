"""The multivariate normal distribution against scipy, autodiff and NumPyro's registry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import scipy.stats

from vifx.distributions import MultivariateNormal

LOC = np.array([[0.0, 1.0], [5.0, -2.0]])
TRIL = np.array([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [-0.2, 0.1]]])


def test_log_prob_is_scipys(x64):
    values = np.random.default_rng(0).normal(size=(4, 2, 2)) * 3
    found = MultivariateNormal(jnp.asarray(LOC), jnp.asarray(TRIL)).log_prob(jnp.asarray(values))
    for s in range(2):
        expected = scipy.stats.multivariate_normal.logpdf(values[:, s], LOC[s], TRIL[s] @ TRIL[s].T)
        np.testing.assert_allclose(found[:, s], expected, rtol=1e-11)
    shared = MultivariateNormal(jnp.asarray(LOC), jnp.asarray(TRIL[0])).log_prob(jnp.asarray([1.0, 2.0]))
    expected = [scipy.stats.multivariate_normal.logpdf([1, 2], loc, TRIL[0] @ TRIL[0].T) for loc in LOC]
    np.testing.assert_allclose(shared, expected, rtol=1e-12)


def test_gradient_of_the_location_is_the_precision_times_the_residual(x64):
    value = jnp.asarray([[0.4, 0.1], [4.0, -1.0]])
    slope = jax.grad(lambda loc: MultivariateNormal(loc, jnp.asarray(TRIL)).log_prob(value).sum())(jnp.asarray(LOC))
    expected = [np.linalg.solve(t @ t.T, v - m) for t, v, m in zip(TRIL, np.asarray(value), LOC, strict=True)]
    np.testing.assert_allclose(slope, expected, rtol=1e-10)


def test_samples_have_mean_and_covariance_and_are_reparameterized():
    def draw(loc, tril):
        return MultivariateNormal(loc, tril).sample(jax.random.key(0), (20_000,))

    loc, tril = jnp.asarray(LOC, jnp.float32), jnp.asarray(TRIL, jnp.float32)
    draws = np.asarray(draw(loc, tril), np.float64)
    for s in range(2):
        white = np.linalg.solve(TRIL[s], (draws[:, s] - LOC[s]).T)
        np.testing.assert_allclose(np.cov(white), np.eye(2), atol=0.05)
        assert scipy.stats.kstest(white[1], "norm").pvalue > 1e-4
    slope = jax.grad(lambda loc: draw(loc, tril).mean())(loc)
    np.testing.assert_allclose(slope, np.full((2, 2), 0.25), rtol=1e-4)


def test_takes_part_in_registered_closed_forms(x64):
    """``½ [tr(Σ₂⁻¹Σ₁) + (m₂−m₁)ᵀ Σ₂⁻¹ (m₂−m₁) − d + log|Σ₂|/|Σ₁|]``."""
    one, two = (MultivariateNormal(jnp.asarray(LOC[s]), jnp.asarray(TRIL[s])) for s in range(2))
    a, b = TRIL[0] @ TRIL[0].T, TRIL[1] @ TRIL[1].T
    apart = LOC[1] - LOC[0]
    expected = 0.5 * (np.trace(np.linalg.solve(b, a)) + apart @ np.linalg.solve(b, apart) - 2)
    expected += 0.5 * (np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1])
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = numpyro.kl_divergence(one, two)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
