"""Closed-form divergences against quadrature, enumeration and sampling."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

import vifx
from vifx.core.types import Estimate
from vifx.distributions import Bernoulli, Categorical, MultivariateNormal, Normal, Poisson, standard_normal
from vifx.distributions.kl_estimates import closed_form


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
        jax.jit(jax.grad(exactly, (0, 1)))(0.7, 0.5), jax.jit(jax.grad(by_quadrature, (0, 1)))(0.7, 0.5), rtol=1e-12
    )


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_impossible_states_count_for_nothing(x64):
    logits = jnp.array([0.0, -jnp.inf, 1.0])
    run = jax.value_and_grad(lambda q: closed_form(Categorical(logits), Categorical(q))())
    value, gradient = run(jnp.array([0.3, -0.2, 0.1]))
    p = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
    q = np.exp([0.3, -0.2, 0.1]) / np.exp([0.3, -0.2, 0.1]).sum()
    np.testing.assert_allclose(value, np.sum(p * np.log(p / q[[0, 2]])), rtol=1e-12)
    np.testing.assert_allclose(gradient, q - [p[0], 0, p[1]], rtol=1e-12)
    # What one has and the other excludes is infinite, however rare it is: e^−1000 is 0 in the computer.
    rare, excluding = Categorical(jnp.array([0.0, -1000.0])), Categorical(jnp.array([0.0, -jnp.inf]))
    assert float(closed_form(rare, excluding)()) == np.inf
    assert float(closed_form(excluding, rare)()) == 0


def poisson_sum(p, q):
    """KL(p ‖ q) of two counts by summation."""
    counts = np.arange(0, int(p.mean() + 60 * p.std()) + 60)
    return np.sum(p.pmf(counts) * (p.logpmf(counts) - q.logpmf(counts)))


def on_the_log_scale(p, q):
    """KL(p ‖ q) of two positive densities, by ``x = e^t``, between quantiles that leave nothing that counts out."""
    low, high = np.log(np.maximum(p.ppf([1e-14, 1 - 1e-14]), 1e-290))
    points = np.linspace(low - 1, high + 1, 9)

    def integrand(t):
        x = np.exp(t)
        return x * p.pdf(x) * (p.logpdf(x) - q.logpdf(x))

    parts = itertools.pairwise(points)
    return sum(scipy.integrate.quad(integrand, a, b, epsabs=1e-13, limit=200)[0] for a, b in parts)


def on_the_unit_interval(p, q):
    """KL(p ‖ q) of two betas on (0, 1), by ``x = σ(t)``; the densities by their definition, without cancellation."""

    def log_density(t, law):
        (one, zero), log_x = law.args, -np.logaddexp(0, -t)
        return one * log_x + zero * (log_x - t) - scipy.special.betaln(one, zero)  # of t

    def integrand(t):
        log_p = log_density(t, p)
        return np.exp(log_p) * (log_p - log_density(t, q))

    points = np.linspace(-120, 120, 161)
    parts = itertools.pairwise(points)
    return sum(scipy.integrate.quad(integrand, a, b, epsabs=1e-12, limit=200)[0] for a, b in parts)


def on_the_line(p, q):
    """KL(p ‖ q) of two Laplace densities."""

    def log_density(x, law):
        loc, scale = law.args
        return -abs(x - loc) / scale - np.log(2 * scale)

    def integrand(x):
        return np.exp(log_density(x, p)) * (log_density(x, p) - log_density(x, q))

    (loc, scale), kink = p.args, q.args[0]
    points = np.unique([kink, *(loc + scale * np.array([-40, -10, -3, 0, 3, 10, 40]))])
    parts = itertools.pairwise(points)
    return sum(scipy.integrate.quad(integrand, a, b, epsabs=1e-12, limit=200)[0] for a, b in parts)


def gamma(shape, rate):
    return numpyro.Gamma(shape, rate), scipy.stats.gamma(shape, scale=1 / rate)


def exponential(rate):
    return numpyro.Exponential(rate), scipy.stats.expon(scale=1 / rate)


def weibull(shape, scale):
    return numpyro.Weibull(scale, shape), scipy.stats.weibull_min(shape, scale=scale)


def beta(one, zero):
    return numpyro.Beta(one, zero), scipy.stats.beta(one, zero)


def half_normal(scale):
    return numpyro.HalfNormal(scale), scipy.stats.halfnorm(scale=scale)


def log_normal(loc, scale):
    return numpyro.LogNormal(loc, scale), scipy.stats.lognorm(scale, scale=np.exp(loc))


def laplace(loc, scale):
    return numpyro.Laplace(loc, scale), scipy.stats.laplace(loc, scale)


def uniform(low, high):
    return numpyro.Uniform(low, high), scipy.stats.uniform(low, high - low)


def poisson(rate):
    return Poisson(jnp.log(rate)), scipy.stats.poisson(rate)


PAIRS = {
    "gamma": lambda: (gamma(2.0, 3.0), gamma(1.5, 0.7), on_the_log_scale),
    "gamma, spiked": lambda: (gamma(0.1, 3.0), gamma(0.25, 0.7), on_the_log_scale),
    "gamma, narrow": lambda: (gamma(900.0, 3.0), gamma(1000.0, 3.1), on_the_log_scale),
    "exponentials": lambda: (exponential(2.0), exponential(0.03), on_the_log_scale),
    "exponential, gamma": lambda: (exponential(0.4), gamma(0.3, 5.0), on_the_log_scale),
    "gamma, exponential": lambda: (gamma(0.3, 5.0), exponential(0.4), on_the_log_scale),
    "weibull, gamma": lambda: (weibull(1.7, 0.6), gamma(2.0, 3.0), on_the_log_scale),
    "weibull, heavy": lambda: (weibull(0.5, 0.6), gamma(0.2, 3.0), on_the_log_scale),
    "weibull, narrow": lambda: (weibull(30.0, 2.0), gamma(20.0, 9.0), on_the_log_scale),
    "beta": lambda: (beta(2.0, 3.0), beta(1.5, 0.7), on_the_unit_interval),
    "beta, bathtub": lambda: (beta(0.4, 0.3), beta(3.0, 0.6), on_the_unit_interval),
    "beta, narrow": lambda: (beta(300.0, 500.0), beta(20.0, 10.0), on_the_unit_interval),
    "half-normal": lambda: (half_normal(0.3), half_normal(2.5), on_the_log_scale),
    "half-normal, wide": lambda: (half_normal(40.0), half_normal(0.5), on_the_log_scale),
    "log-normal": lambda: (log_normal(0.3, 0.8), log_normal(-1.0, 1.7), on_the_log_scale),
    "laplace": lambda: (laplace(0.3, 0.8), laplace(-1.0, 1.7), on_the_line),
    "laplace, apart": lambda: (laplace(5.0, 0.01), laplace(-5.0, 0.3), on_the_line),
    "laplace, centred": lambda: (laplace(1.0, 2.0), laplace(1.0, 0.05), on_the_line),
    "uniform": lambda: (uniform(-0.5, 1.5), uniform(-2.0, 7.0), lambda p, q: np.log(9 / 2)),
    "poisson": lambda: (poisson(3.0), poisson(4.5), poisson_sum),
    "poisson, rare": lambda: (poisson(1e-3), poisson(30.0), poisson_sum),
    "poisson, many": lambda: (poisson(4000.0), poisson(3900.0), poisson_sum),
    "numpyro's poisson": lambda: ((numpyro.Poisson(2.5), scipy.stats.poisson(2.5)), poisson(0.3), poisson_sum),
}


@pytest.mark.parametrize("name", PAIRS)
def test_known_pairs_against_quadrature(x64, name):
    (p, density), (q, other), oracle = PAIRS[name]()
    p, q = (jax.tree.map(lambda leaf: jnp.asarray(leaf, float), each) for each in (p, q))
    value = jax.jit(lambda p, q: closed_form(p, q)())(p, q)
    np.testing.assert_allclose(value, oracle(density, other), rtol=1e-9)


def test_limits_of_the_known_pairs(x64):
    def kl(p, q):
        return closed_form(p, q)()

    assert kl(numpyro.Uniform(jnp.zeros(2), jnp.array([1.0, 3.0])), numpyro.Uniform(-jnp.ones(2), 2.0)).tolist() == [
        pytest.approx(np.log(3)),
        np.inf,
    ]
    nothing, rare = Poisson(jnp.array(-jnp.inf)), Poisson(jnp.log(jnp.array(0.3)))
    assert float(kl(nothing, rare)) == pytest.approx(0.3, rel=1e-12)
    assert float(kl(nothing, nothing)) == 0
    assert float(kl(rare, nothing)) == np.inf
    slope = jax.grad(lambda loc: kl(numpyro.Laplace(loc, 1.0), numpyro.Laplace(jnp.zeros(()), 1.0)))(jnp.zeros(()))
    assert float(slope) == 0


def dirichlet_draws(concentration, count):
    return np.random.default_rng(0).dirichlet(concentration, count)


def test_dirichlets_against_their_marginals_and_sampling(x64):
    """Of two classes a Dirichlet is a Beta; of more, the mean over draws."""
    value = closed_form(numpyro.Dirichlet(jnp.array([0.4, 0.3])), numpyro.Dirichlet(jnp.array([3.0, 0.6])))()
    np.testing.assert_allclose(value, on_the_unit_interval(beta(0.4, 0.3)[1], beta(3.0, 0.6)[1]), rtol=1e-9)
    one, other = np.array([2.0, 0.7, 5.0]), np.array([1.0, 3.0, 2.0])
    draws = dirichlet_draws(one, 40_000)
    each = scipy.stats.dirichlet(one).logpdf(draws.T) - scipy.stats.dirichlet(other).logpdf(draws.T)
    value = closed_form(numpyro.Dirichlet(jnp.asarray(one)), numpyro.Dirichlet(jnp.asarray(other)))()
    assert abs(value - each.mean()) < 5 * each.std() / np.sqrt(len(each))
    assert closed_form(numpyro.Dirichlet(jnp.ones(2)), numpyro.Dirichlet(jnp.ones(3))) is None


def vectors(seed, kind, batch=(5,)):
    """A normal distribution of three-dimensional vectors, and its mean and covariance."""
    keys = jax.random.split(jax.random.key(seed), 3)
    loc, wide = jax.random.normal(keys[0], (*batch, 3), float), jax.random.normal(keys[1], (*batch, 3, 2), float)
    noise = jnp.exp(jax.random.normal(keys[2], (*batch, 3), float))
    diagonal = jnp.eye(3) * noise[..., None]
    if kind == "diagonal":
        return Normal(loc, jnp.sqrt(noise)).to_event(1), loc, diagonal
    covariance = wide @ jnp.swapaxes(wide, -1, -2) + diagonal
    if kind == "low rank":
        return numpyro.LowRankMultivariateNormal(loc, wide, noise), loc, covariance
    return MultivariateNormal(loc, jnp.linalg.cholesky(covariance)), loc, covariance


@pytest.mark.first(1)
@pytest.mark.parametrize("one", ["diagonal", "low rank", "full"])
@pytest.mark.parametrize("other", ["diagonal", "low rank", "full", "one for all"])
def test_normal_vectors_in_any_pairing(x64, one, other):
    """Against ``½ [tr(T⁻¹ S) + (μ − ν)ᵀ T⁻¹ (μ − ν) − d + log|T| − log|S|]`` of plain matrices, value and gradient."""
    with jax.numpy_rank_promotion("allow"):
        p, mu, S = vectors(0, one)
        q, nu, T = vectors(1, "full" if other == "one for all" else other, () if other == "one for all" else (5,))

        def plain(p_loc, p_covariance, nu, T):
            apart = p_loc - nu
            inverse = jnp.linalg.inv(T)
            trace = jnp.trace(inverse @ p_covariance)
            return 0.5 * (
                trace + apart @ inverse @ apart - 3 + jnp.linalg.slogdet(T)[1] - jnp.linalg.slogdet(p_covariance)[1]
            )

        axes = (0, 0, None, None) if other == "one for all" else 0
        expected = jax.vmap(plain, axes)(mu, S, nu, T)
    np.testing.assert_allclose(closed_form(p, q)(), expected, rtol=1e-11)
    leaves, tree = jax.tree.flatten(p)
    moved = [leaf + 1e-3 * jnp.sin(jnp.arange(leaf.size, dtype=float)).reshape(leaf.shape) for leaf in leaves]
    step = [b - a for a, b in zip(leaves, moved, strict=True)]

    def along(t):
        return jnp.sum(
            closed_form(jax.tree.unflatten(tree, [a + t * d for a, d in zip(leaves, step, strict=True)]), q)()
        )

    difference = (along(1e-2) - along(-1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(along)(0.0), difference, rtol=1e-6)


def test_pairs_that_are_not_known_are_not_trusted():
    """A truncated series, a class of one's own, states that differ, and a point mass are drawn instead."""

    class Halved(numpyro.Normal):
        def log_prob(self, value):
            return super().log_prob(value) / 2

    states = [numpyro.DiscreteUniform(0, 3), numpyro.DiscreteUniform(1, 4)]
    assert closed_form(numpyro.Kumaraswamy(1.0, 1.0), numpyro.Beta(1.0, 5.0)) is None
    assert closed_form(Halved(jnp.zeros(()), jnp.ones(())), Normal(jnp.zeros(()), jnp.ones(()))) is None
    assert closed_form(numpyro.Delta(jnp.zeros(())), Normal(jnp.zeros(()), jnp.ones(()))) is None
    assert closed_form(*states) is None
    np.testing.assert_allclose(closed_form(states[0], states[0])(), 0, atol=1e-7)


def test_pairs_without_a_closed_form():
    assert closed_form(numpyro.StudentT(3.0), Normal(jnp.zeros(()), jnp.ones(()))) is None
    assert closed_form(numpyro.StudentT(jnp.ones(3) * 3).to_event(1), standard_normal(3)) is None
    assert closed_form(Categorical(jnp.zeros(3)), Categorical(jnp.zeros(4))) is None
    assert closed_form(Bernoulli(jnp.zeros(3)), Categorical(jnp.zeros((3, 2)))) is None


def factorizations_before(jaxpr, known, found):
    """For each Cholesky factorization, in order, those that its input depends on."""
    for equation in jaxpr.eqns:
        before = set().union(*(known.get(v, set()) for v in equation.invars if not hasattr(v, "val")), set())
        inner = getattr(equation.params.get("jaxpr"), "jaxpr", None)
        if equation.primitive.name == "cholesky":
            found.append(before)
            before = before | {len(found) - 1}
        elif inner is not None and len(inner.invars) == len(equation.invars):
            own = {
                v: known.get(w, set())
                for v, w in zip(inner.invars, equation.invars, strict=True)
                if not hasattr(w, "val")
            }
            factorizations_before(inner, own, found)
            before = before.union(*(own.get(v, set()) for v in inner.outvars if not hasattr(v, "val")))
        known.update(dict.fromkeys(equation.outvars, before))
    return found


def test_factorizations_come_one_after_the_other():
    """Batches of them at the same time wait for each other for ever where XLA has two threads."""
    one, other = (
        numpyro.LowRankMultivariateNormal(jnp.zeros((4, 3)), jnp.ones((4, 3, 2)), jnp.full((4, 3), 0.5 + i))
        for i in range(2)
    )
    traced = jax.make_jaxpr(lambda: closed_form(one, other)())()
    assert factorizations_before(traced.jaxpr, {}, []) == [set(), {0}, {0, 1}, {0, 1, 2}]


class Guessed(Normal):
    """A normal that offers an unbiased estimate of its divergence from any other: the exact one and noise of mean 0."""

    def kl_estimate(self, other):
        exactly = closed_form(Normal(self.loc, self.scale), other)
        return Estimate(lambda key: exactly() + jax.random.normal(key, self.batch_shape), "guess", True)


def test_a_conditional_s_own_estimate_is_used_and_named():
    """Drawn anew with every key, its mean over many examples is the exact divergence."""
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", lambda x: Guessed(x, jnp.full_like(x, 0.5))))
    generative = vifx.Joint(
        vifx.factor("z", Normal(jnp.zeros(()), jnp.ones(()))),
        vifx.factor("x | z", lambda z: Normal(z, jnp.ones_like(z))),
    )
    batch = {"x": jnp.linspace(-1.0, 1.0, 4000)}
    loss = vifx.kl(inference, generative).players["model"].loss
    one, two = (loss(jax.random.key(seed), {}, {}, batch)[1].metrics["kl/z_sampled"] for seed in range(2))
    exact = np.mean(0.5 * (0.25 + np.linspace(-1, 1, 4000) ** 2 - 1) - np.log(0.5))
    assert one != two
    np.testing.assert_allclose([one, two], exact, atol=4 / np.sqrt(4000))
    assert "by guess" in vifx.explain(vifx.kl(inference, generative), batch)
