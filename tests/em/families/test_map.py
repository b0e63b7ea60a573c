"""Priors: the modes of posteriors against SciPy's optimizer and densities; parameters that are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from em.families.trajectories import check_step, check_turns

from vifx import em
from vifx.em.families.noise_priors import log_noise_prior
from vifx.em.families.regression import ChainMoments

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3)) * [1, 0.4, 0.7] + [2, 1, 0]])
BINARY = (RNG.uniform(size=(30, 3)) < [0.2, 0.5, 0.9]).astype(int)
COUNTS = RNG.poisson([0.3, 2.0, 5.0], size=(30, 3))
WISHART = em.NormalInverseWishart(mean=[0.5, 0.0, 1.0], scale=np.diag([2.0, 1.0, 0.5]), confidence=1.5, degrees=6.0)
NOISE = em.InverseGamma(4.0, 1.5)


def expit(t):
    return 1 / (1 + np.exp(-t))


def softmax(t):
    shares = np.exp(t - t.max())
    return shares / shares.sum()


def triangle(t):
    """A mean and a covariance of three numbers from nine."""
    factor = np.zeros((3, 3))
    factor[np.tril_indices(3)] = t[3:9]
    np.fill_diagonal(factor, np.exp(np.diag(factor)))
    return t[:3], factor @ factor.T


def wishart(mean, covariance):
    """The normal–inverse-Wishart density, by SciPy."""
    own = scipy.stats.invwishart.logpdf(covariance, 6, np.diag([2.0, 1.0, 0.5]))
    return own + scipy.stats.multivariate_normal.logpdf(mean, [0.5, 0.0, 1.0], covariance / 1.5)


def of_normal(t):
    mean, covariance = triangle(t)
    return scipy.stats.multivariate_normal.logpdf(X, mean, covariance).sum() + wishart(mean, covariance)


def of_student(t):
    mean, shape = triangle(t)
    return scipy.stats.multivariate_t.logpdf(X, mean, shape, df=5).sum() + wishart(mean, shape)


def of_low_rank(isotropic):
    def log_posterior(t):
        noise = np.exp(np.full(3, t[6]) if isotropic else t[6:9])
        covariance = np.outer(t[3:6], t[3:6]) + np.diag(noise)
        prior = scipy.stats.invgamma.logpdf(noise[:1] if isotropic else noise, 4, scale=1.5).sum()
        return scipy.stats.multivariate_normal.logpdf(X, t[:3], covariance).sum() + prior

    return log_posterior


def of_bernoulli(t):
    rates = expit(t)
    return scipy.stats.bernoulli.logpmf(BINARY, rates).sum() + scipy.stats.beta.logpdf(rates, 2.5, 4).sum()


def of_poisson(t):
    rates = np.exp(t)
    return scipy.stats.poisson.logpmf(COUNTS, rates).sum() + scipy.stats.gamma.logpdf(rates, 3, scale=1 / 0.7).sum()


def of_multinomial(t):
    shares = softmax(t)
    likelihood = scipy.stats.multinomial.logpmf(COUNTS, COUNTS.sum(axis=1), shares).sum()
    return likelihood + scipy.stats.dirichlet.logpdf(shares, [1.5, 4, 2])


# The family with its prior, its data, the log posterior of free numbers, how many there are, and what they are.
CASES = {
    "bernoulli": ({"prior": em.Beta(2.5, 4)}, BINARY, of_bernoulli, 3, lambda t: {"probabilities": expit(t)}),
    "multinomial": (
        {"prior": em.Dirichlet([1.5, 4, 2])},
        COUNTS,
        of_multinomial,
        3,
        lambda t: {"probabilities": softmax(t)},
    ),
    "poisson": ({"prior": em.Gamma(3, 0.7)}, COUNTS, of_poisson, 3, lambda t: {"rates": np.exp(t)}),
    "gaussian": ({"prior": WISHART}, X, of_normal, 9, lambda t: dict(zip(("means", "covariances"), triangle(t)))),  # noqa: B905
    "student_t": (
        {"prior": WISHART, "df": 5.0},
        X,
        of_student,
        9,
        lambda t: dict(zip(("locations", "shapes"), triangle(t))),  # noqa: B905
    ),
    "factor_analysis": (
        {"prior": NOISE, "latent": 1},
        X,
        of_low_rank(False),
        9,
        lambda t: {"means": t[:3], "noise_variances": np.exp(t[6:9])},
    ),
    "ppca": (
        {"prior": NOISE, "latent": 1},
        X,
        of_low_rank(True),
        7,
        lambda t: {"means": t[:3], "noise_variances": np.exp(t[6])},
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("family", CASES)
def test_the_mode_of_the_posterior_is_the_one_that_an_optimizer_finds(x64, family):
    options, x, log_posterior, size, named = CASES[family]
    fit = em.fit(jax.random.key(0), em.mixture(family, 1, **options), x, steps=4000, tolerance=1e-13)
    start = np.r_[x.mean(axis=0), np.full(size - 3, 0.1)] if size > 3 else np.zeros(size)
    best = scipy.optimize.minimize(lambda t: -log_posterior(t), start, method="BFGS", options={"gtol": 1e-6})
    assert np.abs(best.jac).max() < 1e-3
    for name, value in named(best.x).items():
        np.testing.assert_allclose(fit.estimates[name][0], value, rtol=2e-3, atol=2e-3)
    assert np.diff(fit.history).min() > -1e-11
    # The objective is the log posterior but for a constant of the prior: both rise alike from another place.
    params, state = jax.jit(fit.model.objective.init)(jax.random.key(0), {"x": jnp.asarray(x)})
    priors = [float(fit.model.solver.log_prior(each, state)) for each in (fit.params, params)]
    likelihoods = [float(jnp.sum(fit.model.log_prob(each, state, x))) for each in (fit.params, params)]
    assert fit.history[-1] * len(x) == pytest.approx(likelihoods[0] + priors[0], rel=1e-9)
    assert fit.log_likelihood == pytest.approx(likelihoods[0], rel=1e-9)


def test_the_mode_of_a_normal_is_murphys(x64):
    """Murphy (2012), equations 4.209 to 4.215: the maximum a posteriori of a normal distribution."""
    number, mean = len(X), X.mean(axis=0)
    family = em.gaussian(1, prior=WISHART)
    params, _ = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X))
    own, apart = family.estimates(params), mean - WISHART.mean
    scale = WISHART.scale + (X - mean).T @ (X - mean) + 1.5 * number / (1.5 + number) * np.outer(apart, apart)
    np.testing.assert_allclose(own["covariances"][0], scale / (6 + number + 3 + 2), rtol=1e-9)
    np.testing.assert_allclose(own["means"][0], (number * mean + 1.5 * np.array(WISHART.mean)) / (number + 1.5))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "make",
    [
        lambda: em.student_t(2, df=5.0, prior=WISHART),
        lambda: em.student_t(2, df=5.0, covariance="diagonal", prior=em.NormalInverseWishart(confidence=0.5)),
        lambda: em.factor_analysis(2, latent=1, prior=NOISE),
        lambda: em.ppca(2, latent=2, prior=NOISE),
    ],
    ids=["student_t", "diagonal", "factor_analysis", "ppca"],
)
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, make):
    check_turns(make(), X, 2, steps=6000, tolerance=1e-7)


@pytest.mark.thorough
@pytest.mark.parametrize("scale", [0.01, 1.5, 40.0])
def test_the_m_step_of_ppca_is_the_maximum_whether_few_or_all_directions_are_above_the_noise(x64, scale):
    check_step(em.ppca(2, latent=2, prior=em.InverseGamma(2.0, scale)), X, 2)


@pytest.mark.thorough
def test_weights_and_rows_of_transitions_have_their_priors(x64):
    """``π ∝ n + α − 1`` at the fixed point, with the expected counts of the fitted model."""
    alpha = np.array([4.0, 1.0])
    fit = em.fit(
        jax.random.key(0), em.mixture("gaussian", 2, weights_prior=em.Dirichlet(alpha)), X, steps=3000, tolerance=1e-14
    )
    counts = fit.predict_proba(X).sum(axis=0) + alpha - 1
    np.testing.assert_allclose(fit.estimates["weights"], counts / counts.sum(), rtol=1e-5)
    model = em.hmm("gaussian", 2, length=8, chain_prior=em.Dirichlet(alpha), prior=em.NormalInverseWishart())
    x = X.reshape(5, 8, 3)
    fit = em.fit(jax.random.key(0), model, x, steps=3000, tolerance=1e-14, start="random")
    pairs = np.asarray(fit.posterior(x).pair_marginals).sum(axis=(0, 1)) + alpha - 1
    np.testing.assert_allclose(fit.estimates["transitions"], pairs / pairs.sum(axis=1, keepdims=True), rtol=1e-4)
    first = fit.predict_proba(x)[:, 0].sum(axis=0) + alpha - 1
    np.testing.assert_allclose(fit.estimates["initial"], first / first.sum(), rtol=1e-4)


MEAN, SPREAD = X[[3, 30]], np.array([[1.0, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.2, 0.1, 0.6]])
HELD = {
    "diagonal, mean": ("gaussian", {"covariance": "diagonal"}, {"mean": MEAN}),
    "full, mean": ("gaussian", {}, {"mean": MEAN}),
    "tied, mean": ("gaussian", {"covariance": "tied"}, {"mean": MEAN}),
    "full, mean and prior": ("gaussian", {"prior": WISHART}, {"mean": MEAN}),
    "full, spread": ("gaussian", {}, {"scale_tril": np.stack([SPREAD, 2 * SPREAD])}),
    "spherical, spread": ("gaussian", {"covariance": "spherical"}, {"scale": np.array([0.5, 2.0])}),
    "student, mean": ("student_t", {"df": 4.0}, {"mean": MEAN}),
    "factors, mean": ("factor_analysis", {"latent": 1, "prior": NOISE}, {"mean": MEAN}),
    "factors, loadings": ("factor_analysis", {"latent": 1, "prior": NOISE}, {"loadings": MEAN[..., None]}),
    "factors, noise": ("factor_analysis", {"latent": 1, "prior": NOISE}, {"scale": np.abs(MEAN) + 0.3}),
    "ppca, mean": ("ppca", {"latent": 1}, {"mean": MEAN}),
    "ppca, loadings": ("ppca", {"latent": 1, "prior": NOISE}, {"loadings": MEAN[..., None]}),
    "ppca, noise": ("ppca", {"latent": 1}, {"scale": np.array([0.5, 0.8])}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", HELD)
def test_what_is_known_stays_and_the_rest_is_the_best_given_it(x64, case):
    """The gradient by the parameters that are left is zero at the end, and those held are not among them."""
    name, options, fixed = HELD[case]
    make = getattr(em, name)
    family = make(2, fixed=fixed, **options)
    params, state = check_turns(family, X, 2, steps=3000, tolerance=1e-6)
    free = make(2, **options)
    every = jax.eval_shape(free.init, jax.random.key(0), jnp.asarray(X))[0]
    assert set(params["components"]) == set(every) - set(fixed)
    law = family.apply(params["components"], state["components"], jnp.arange(2))[0]
    if "mean" in fixed and name == "gaussian":
        np.testing.assert_allclose(law.mean, MEAN, rtol=1e-12)
    whole = {**params["components"], **{key: jnp.asarray(value) for key, value in fixed.items()}}
    size = {"scale_tril": 12, "loadings": 6}.get(next(iter(fixed)), next(iter(fixed.values())).size)
    assert free.degrees(whole) - family.degrees(params["components"]) == size


@pytest.mark.thorough
def test_tables_that_are_known_leave_the_weights_to_fit(x64):
    tables = {
        "bernoulli": ({}, {"logits": RNG.normal(size=(2, 3))}, BINARY),
        "categorical": ({"classes": 2}, {"logits": RNG.normal(size=(2, 3, 2))}, BINARY),
        "multinomial": ({}, {"logits": RNG.normal(size=(2, 3))}, COUNTS),
        "poisson": ({}, {"log_rate": RNG.normal(size=(2, 3))}, COUNTS),
    }
    for name, (options, fixed, x) in tables.items():
        fit = em.fit(jax.random.key(0), em.mixture(name, 2, fixed=fixed, **options), x, steps=2000, tolerance=1e-13)
        assert fit.degrees == 1
        assert fit.params["components"] == {}
        # At the maximum over the weights, each is the mean of its responsibilities.
        np.testing.assert_allclose(fit.estimates["weights"], fit.predict_proba(x).mean(axis=0), atol=1e-5)
    known = em.fit(jax.random.key(0), em.mixture("poisson", 2, weights=[0.25, 0.75]), COUNTS, steps=50)
    np.testing.assert_allclose(known.estimates["weights"], [0.25, 0.75], rtol=1e-12)
    assert known.degrees == 6
    assert (np.diff(known.history) > -1e-12).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: em.Dirichlet(0.5), "Dirichlet: concentration must be a finite number ≥ 1, got 0.5"),
        (lambda: em.Dirichlet([2.0, 0.1]), "concentration must be a finite number ≥ 1, got 0.1"),
        (lambda: em.Beta(0.5, 1), "Beta: ones must be a finite number ≥ 1"),
        (lambda: em.Gamma(1, -1), "Gamma: rate must be a finite number ≥ 0, got -1"),
        (lambda: em.InverseGamma(0, 1), "InverseGamma: shape must be a finite number > 0, got 0"),
        (lambda: em.categorical(3, prior=em.Dirichlet([2.0, 1.0])), "one for each of the 3 values, got 2"),
        (lambda: em.mixture("poisson", 2, weights=[0.5, 0.6]), "weights must be 2 probabilities that sum to 1"),
        (lambda: em.gaussian(2, fixed={"means": MEAN}), "unknown parameter of gaussian to hold fixed 'means'.*'mean'"),
        (
            lambda: em.gaussian(3, fixed={"mean": MEAN}),
            r"fixed\['mean'\] must be finite numbers \[3, …\], got shape \[2, 3\]",
        ),
    ],
)
def test_bad_priors_and_known_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: em.Dirichlet("much"), "concentration must be a number, or as many"),
        (lambda: em.bernoulli(2, prior=em.Gamma(2, 1)), "bernoulli: prior must be a Beta or None, got a Gamma"),
        (lambda: em.ppca(2, latent=1, prior=WISHART), "ppca: prior must be an InverseGamma or None"),
    ],
)
def test_priors_of_another_kind(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_known_values_have_the_shape_of_the_data():
    family = em.gaussian(2, fixed={"mean": MEAN[:, :2]})
    with pytest.raises(ValueError, match=r"fixed\['mean'\] must have the shape \[2, 3\] for these data, got \[2, 2\]"):
        jax.eval_shape(family.init, jax.random.key(0), jnp.asarray(X, jnp.float32))


PATHS = np.cumsum(RNG.normal(size=(4, 6, 2)), axis=1) * [1.0, 3.0]
WISHART_2 = em.InverseWishart([[2.0, 0.5], [0.5, 1.0]], 5.0)


def chains(noise, prior):
    """A Gaussian chain that is observed: its parameters, and their log posterior but for a constant."""
    family = em.gaussian_chain(2, length=6, noise=noise, prior=prior)
    params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(PATHS))
    return (
        params,
        lambda p: jnp.sum(family.apply(p, state)[0].log_prob(jnp.asarray(PATHS))) + family.log_prior(p, state),
    )


def emissions(noise, prior):
    """Emissions of states that are known."""
    family = em.linear_gaussian(noise=noise, prior=prior)
    z = jnp.asarray(RNG.normal(size=(4, 6, 1)))
    start, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(PATHS), z)
    moments = ChainMoments(z, jnp.zeros((4, 6, 1, 1)), jnp.zeros((4, 5, 1, 1)), jnp.ones((4, 6)))
    features, prepared = family.features(state, jnp.asarray(PATHS)), family.prepare(start, state)
    params = family.maximize(start, state, family.statistics(prepared, features, moments))
    law = lambda p: family.apply(p, state, z)[0]  # noqa: E731
    return params, lambda p: jnp.sum(law(p).log_prob(jnp.asarray(PATHS))) + family.log_prior(p, state)


def switching(noise, prior):
    """A regression of each step on the one before, in one state."""
    family = em.autoregressive(1, prior=prior)
    path = jnp.zeros((4, 6), jnp.int32)
    params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(PATHS), path)
    law = lambda p: family.apply(p, state, path)[0]  # noqa: E731
    return params, lambda p: jnp.sum(law(p).log_prob(jnp.asarray(PATHS))) + family.log_prior(p, state)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("make", "noise", "prior"),
    [
        (chains, "full", WISHART_2),
        (chains, "diagonal", NOISE),
        (emissions, "full", WISHART_2),
        (emissions, "diagonal", NOISE),
        (switching, "full", WISHART_2),
    ],
)
def test_the_noise_of_regressions_has_its_prior(x64, make, noise, prior):
    """The gradient of the log posterior is zero at the M step, and not without the prior; the density is SciPy's."""
    params, log_posterior = make(noise, prior)
    gradient = jax.jit(jax.grad(log_posterior))(params)
    mask = {name: np.tril(np.ones(leaf.shape)) if "tril" in name else 1.0 for name, leaf in params.items()}
    if noise == "diagonal" and "scale_tril" in mask:
        mask["scale_tril"] = np.eye(2)
    worst = max(float(np.abs(gradient[name] * mask[name]).max()) for name in gradient)
    assert worst < 1e-6
    free, likelihood = make(noise, None)
    plain = jax.jit(jax.grad(likelihood))(free)
    assert max(float(np.abs(plain[name] * mask[name]).max()) for name in plain) < 1e-6
    spread = "scale" if "scale" in params else "scale_tril"
    assert float(np.abs(params[spread] - free[spread]).max()) > 1e-2


@pytest.mark.thorough
def test_the_densities_of_noise_are_scipys(x64):
    roots = [np.tril(RNG.normal(size=(2, 2))) + 2 * np.eye(2) for _ in range(2)]
    found = [float(log_noise_prior(WISHART_2, jnp.asarray(root))) for root in roots]
    expected = [scipy.stats.invwishart.logpdf(root @ root.T, 5, WISHART_2.scale) for root in roots]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-10)
    scales = RNG.uniform(0.5, 2, (2, 3))
    found = [float(log_noise_prior(NOISE, jnp.asarray(each))) for each in scales]
    expected = [scipy.stats.invgamma.logpdf(each**2, 4, scale=1.5).sum() for each in scales]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("noise", ["full", "diagonal"])
def test_a_linear_dynamical_system_with_priors_rises(x64, noise):
    prior = WISHART_2 if noise == "full" else NOISE
    model = em.lds(2, length=6, noise=noise, prior=prior, chain_prior=WISHART_2)
    fit = em.fit(jax.random.key(0), model, PATHS, steps=60, tolerance=0.0)
    assert np.diff(fit.history).min() > -1e-11
    assert fit.history[-1] > fit.history[0] + 0.1
    priors = float(model.solver.log_prior(fit.params, fit.state))
    assert fit.history[-1] * 4 == pytest.approx(fit.log_likelihood + priors, rel=1e-9)
    with pytest.raises(TypeError, match="linear_gaussian: prior must be an Inverse"):
        em.lds(2, length=6, noise=noise, prior=em.Beta(2, 2))
    wrong = em.lds(2, length=6, chain_prior=em.InverseWishart(np.eye(3), 4.0))
    with pytest.raises(ValueError, match=r"scale must have the shape \[2, 2\] for noise of 2 features, got \[3, 3\]"):
        em.fit(jax.random.key(0), wrong, PATHS, steps=1)
