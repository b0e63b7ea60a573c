"""The multivariate Student-t distribution against scipy and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from vifx.distributions import MultivariateStudentT

DF, LOC = np.array([1.5, 30.0]), np.array([[0.0, 1.0], [5.0, -2.0]])
TRIL = np.array([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [-0.2, 0.1]]])


def made(df=DF, loc=LOC, tril=TRIL):
    return MultivariateStudentT(jnp.asarray(df), jnp.asarray(loc), jnp.asarray(tril))


def test_log_prob_is_scipys(x64):
    values = np.random.default_rng(0).normal(size=(4, 2, 2)) * 3
    found = jax.jit(lambda x: made().log_prob(x))(jnp.asarray(values))
    for s in range(2):
        expected = scipy.stats.multivariate_t.logpdf(values[:, s], LOC[s], TRIL[s] @ TRIL[s].T, DF[s])
        np.testing.assert_allclose(found[:, s], expected, rtol=1e-11)


def test_parameters_are_broadcast(x64):
    found = made(3.0, LOC, TRIL[0])
    assert found.batch_shape == (2,)
    value = jnp.asarray([1.0, 2.0])
    expected = [scipy.stats.multivariate_t.logpdf(value, loc, TRIL[0] @ TRIL[0].T, 3.0) for loc in LOC]
    np.testing.assert_allclose(found.log_prob(value), expected, rtol=1e-11)


def test_gradient_by_finite_differences(x64):
    value = jnp.asarray([[0.4, 0.1], [4.0, -1.0]])
    check_grads(lambda *a: made(*a).log_prob(value), (DF, LOC, TRIL), order=1, modes=["rev"], rtol=1e-5)


@pytest.mark.thorough
def test_samples_have_the_distribution_and_are_reparameterized():
    draws = np.asarray(made().sample(jax.random.key(0), (10_000,)), np.float64)
    for s in range(2):
        white = np.linalg.solve(TRIL[s], (draws[:, s] - LOC[s]).T)
        # Each coordinate is a t variable, and the squared distance over d one of F(d, ν).
        assert scipy.stats.kstest(white[1], scipy.stats.t(DF[s]).cdf).pvalue > 1e-4
        assert scipy.stats.kstest((white**2).sum(0) / 2, scipy.stats.f(2, DF[s]).cdf).pvalue > 1e-4
    slope = jax.grad(lambda loc: made(loc=loc).sample(jax.random.key(1), (3,)).sum())(jnp.asarray(LOC, jnp.float32))
    np.testing.assert_allclose(slope, np.full((2, 2), 3.0), rtol=1e-6)
