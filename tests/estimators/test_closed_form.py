"""Closed-form divergences against quadrature, enumeration and sampling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
import scipy.integrate
import scipy.stats

from vifx.distributions import Bernoulli, Categorical, Normal, standard_normal
from vifx.estimators.closed_form import closed_form


def quadrature(p, q, low, high):
    """KL(p ‖ q) of two SciPy densities on an interval."""
    return scipy.integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, epsabs=1e-13)[0]


@pytest.mark.parametrize(("mu", "sigma", "nu", "tau"), [(0, 1, 0, 1), (0.3, 0.2, -0.5, 1.5), (2, 3, 1, 0.7)])
def test_normal_pair_against_quadrature(x64, mu, sigma, nu, tau):
    value = closed_form(Normal(jnp.array([mu * 1.0]), sigma * 1.0), Normal(jnp.array([nu * 1.0]), tau * 1.0))()
    p, q = scipy.stats.norm(mu, sigma), scipy.stats.norm(nu, tau)
    np.testing.assert_allclose(value[0], quadrature(p, q, mu - 12 * sigma, mu + 12 * sigma), atol=1e-12)


def test_diagonal_normal_against_the_standard_prior(x64):
    mu, sigma = (
        jax.random.normal(jax.random.key(0), (5, 3), float),
        jnp.exp(jax.random.normal(jax.random.key(1), (5, 3), float)),
    )
    value = closed_form(Normal(mu, sigma).to_event(1), standard_normal(3))()
    expected = 0.5 * jnp.sum(mu**2 + sigma**2 - jnp.log(sigma**2) - 1, axis=1)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert value.shape == (5,)


def test_gradient_of_the_normal_pair_against_quadrature(x64):
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def by_quadrature(mu, sigma):
        z = mu + sigma * nodes
        log_p = -0.5 * nodes**2 - jnp.log(sigma)
        return jnp.sum(weights * (log_p + 0.5 * ((z - 0.4) / 1.3) ** 2 + jnp.log(1.3)))

    def exactly(mu, sigma):
        return closed_form(Normal(mu, sigma), Normal(jnp.asarray(0.4), jnp.asarray(1.3)))()

    np.testing.assert_allclose(
        jax.grad(exactly, (0, 1))(0.7, 0.5), jax.grad(by_quadrature, (0, 1))(0.7, 0.5), rtol=1e-12
    )


def test_finite_families_are_summed(x64):
    p, q = jax.random.normal(jax.random.key(0), (2, 5, 4), float)
    value = closed_form(Categorical(p), Categorical(q))()
    np.testing.assert_allclose(
        value,
        [scipy.stats.entropy(a, b) for a, b in zip(jax.nn.softmax(p), jax.nn.softmax(q), strict=True)],
        rtol=1e-12,
    )
    one = closed_form(Categorical(p), Categorical(q[0]))()
    np.testing.assert_allclose(one[2], scipy.stats.entropy(jax.nn.softmax(p[2]), jax.nn.softmax(q[0])), rtol=1e-12)
    a, b = jax.nn.sigmoid(p), jax.nn.sigmoid(q)
    bits = closed_form(Bernoulli(p).to_event(1), Bernoulli(q).to_event(1))()
    expected = jnp.sum(a * jnp.log(a / b) + (1 - a) * jnp.log((1 - a) / (1 - b)), axis=1)
    np.testing.assert_allclose(bits, expected, rtol=1e-12)


def test_impossible_states_count_for_nothing(x64):
    logits = jnp.array([0.0, -jnp.inf, 1.0])
    run = jax.value_and_grad(lambda q: closed_form(Categorical(logits), Categorical(q))())
    value, gradient = run(jnp.array([0.3, -0.2, 0.1]))
    p = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
    q = np.exp([0.3, -0.2, 0.1]) / np.exp([0.3, -0.2, 0.1]).sum()
    np.testing.assert_allclose(value, np.sum(p * np.log(p / q[[0, 2]])), rtol=1e-12)
    np.testing.assert_allclose(gradient, q - [p[0], 0, p[1]], rtol=1e-12)


def test_registered_pairs_against_quadrature(x64):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        beta = closed_form(numpyro.Beta(2.0, 3.0), numpyro.Beta(1.5, 0.7))()
        gamma = closed_form(numpyro.Gamma(2.0, 3.0), numpyro.Gamma(1.5, 0.7))()
    np.testing.assert_allclose(beta, quadrature(scipy.stats.beta(2, 3), scipy.stats.beta(1.5, 0.7), 0, 1), rtol=1e-8)
    p, q = scipy.stats.gamma(2, scale=1 / 3), scipy.stats.gamma(1.5, scale=1 / 0.7)
    np.testing.assert_allclose(gamma, quadrature(p, q, 0, 40), rtol=1e-8)


def test_pairs_without_a_closed_form():
    assert closed_form(numpyro.StudentT(3.0), Normal(jnp.zeros(()), jnp.ones(()))) is None
    assert closed_form(numpyro.StudentT(jnp.ones(3) * 3).to_event(1), standard_normal(3)) is None
    assert closed_form(Categorical(jnp.zeros(3)), Categorical(jnp.zeros(4))) is None
    assert closed_form(Bernoulli(jnp.zeros(3)), Categorical(jnp.zeros((3, 2)))) is None
