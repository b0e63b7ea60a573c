"""Factor analysis and its mixtures against scikit-learn, SciPy, a conditioned joint normal and an optimizer."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from em.families.factor_models import covariance, data, em_updates, log_likelihood
from sklearn.decomposition import FactorAnalysis

from vifx import em

X = data(150, 6, 2, seed=4, noise=(0.9, 1.4))
TWO = np.concatenate([data(60, 4, 1, seed=1), data(70, 4, 1, seed=2) - 9.0])


def test_every_turn_has_the_likelihood_of_scikit_learn(x64):
    """Whose iteration from one noise is the best W, then the noise: the same sequence, one step earlier."""
    _, found, each, (_, params, _, _) = em_updates(em.factor_analysis(1, latent=2), 1, X, 30)
    start = np.asarray(params["components"]["scale"][0]) ** 2
    peer = FactorAnalysis(2, noise_variance_init=start, max_iter=30, tol=0.0, svd_method="lapack")
    with pytest.warns(match="did not converge"):
        peer.fit(X)
    np.testing.assert_allclose(found, np.array(peer.loglike_) / len(X), rtol=0, atol=1e-10)
    # Its W of the last turn belongs to the noise of the turn before.
    components = {name: value[28] for name, value in each["components"].items()}
    loadings = np.asarray(components["loadings"][0])
    np.testing.assert_allclose(loadings @ loadings.T, peer.components_.T @ peer.components_, rtol=0, atol=1e-8)


@pytest.mark.thorough
def test_at_convergence_it_is_scikit_learn_and_no_better_optimum_is_near(x64):
    params, found, _, _ = em_updates(em.factor_analysis(1, latent=2), 1, X, 400)
    peer = FactorAnalysis(2, tol=1e-8, max_iter=5000, svd_method="lapack").fit(X)
    assert abs(log_likelihood(params, X) - peer.score(X)) < 1e-6
    assert np.diff(found).min() > -1e-12
    np.testing.assert_allclose(covariance(params["components"], 0), peer.get_covariance(), atol=2e-4)

    def minus(vector):
        own = {
            "mean": jnp.asarray(X.mean(0))[None],
            "loadings": vector[:12].reshape(1, 6, 2),
            "scale": vector[None, 12:],
        }
        family = em.factor_analysis(1, latent=2)
        return -jnp.mean(family.apply(own, {})[0].log_prob(jnp.asarray(X)))

    components = params["components"]
    best = jnp.concatenate([components["loadings"].ravel(), components["scale"].ravel()])
    value, gradient = jax.jit(jax.value_and_grad(minus))(best)
    assert abs(float(value) + log_likelihood(params, X)) < 1e-12
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.thorough
def test_a_mixture_climbs_and_its_loss_is_minus_the_log_likelihood(x64):
    family = em.factor_analysis(2, latent=1)
    params, found, each, (objective, first, state, batch) = em_updates(family, 2, TWO, 40)
    assert np.diff(found).min() > -1e-12
    assert found[-1] - found[0] > 1e-3
    np.testing.assert_allclose(found[0], log_likelihood(first, TWO), rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[-1], log_likelihood(jax.tree.map(lambda v: v[-2], each), TWO), rtol=0, atol=1e-11)
    loss = jax.jit(jax.value_and_grad(lambda p: objective.players["model"].loss(jax.random.key(0), p, state, batch)[0]))
    value, gradient = loss(params)
    assert abs(float(value) + log_likelihood(params, TWO)) < 1e-11
    shift = 1e-5 * np.random.default_rng(0).normal(size=(2, 4, 1))
    moved = [
        log_likelihood(
            {**params, "components": {**params["components"], "loadings": params["components"]["loadings"] + s}}, TWO
        )
        for s in (shift, -shift)
    ]
    np.testing.assert_allclose(
        np.sum(gradient["components"]["loadings"] * shift), (moved[1] - moved[0]) / 2, atol=1e-11
    )


@pytest.mark.thorough
def test_a_turn_from_anywhere_never_falls(x64):
    """Also where W is not the best of the old noise, and where the floor holds."""
    generator = np.random.default_rng(3)
    for floor in (1e-6, 0.9):
        family = em.factor_analysis(1, latent=2, floor=floor)
        params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X))
        x = family.features(state, jnp.asarray(X))
        statistics = family.statistics((), x, jnp.ones((len(X), 1)))

        @jax.jit
        def turn(params, family=family, state=state, statistics=statistics, x=x):
            new = family.maximize(params, state, statistics)
            return [jnp.mean(family.log_probs(family.prepare(p, state), x)) for p in (params, new)], new

        for _ in range(20):
            scale = generator.uniform(np.sqrt(floor), 2.0, size=(1, 6))
            params = {**params, "loadings": jnp.asarray(generator.normal(size=(1, 6, 2))), "scale": jnp.asarray(scale)}
            (before, after), new = turn(params)
            assert after >= before - 1e-12
            assert float(jnp.min(new["scale"])) >= np.sqrt(floor) * (1 - 1e-12)


def test_the_noise_of_a_turn_is_that_of_em(x64):
    """With W kept, EM's expected squares of the noise: found by a minimizer of the expected log-density."""
    family = em.factor_analysis(1, latent=2)
    params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X))
    loadings, scale = np.random.default_rng(1).normal(size=(6, 2)), np.linspace(0.7, 1.6, 6)
    params = {**params, "loadings": jnp.asarray(loadings)[None], "scale": jnp.asarray(scale)[None]}

    @jax.jit
    def turn(params, x):
        statistics = family.statistics((), family.features(state, x), jnp.ones((len(X), 1)))
        return family.maximize(params, state, statistics)

    apart = X - X.mean(0)
    sigma = loadings @ loadings.T + np.diag(scale**2)
    beta = loadings.T @ np.linalg.inv(sigma)
    u = apart @ beta.T
    left = apart - u @ loadings.T
    squares = np.mean(left**2, axis=0) + np.diag(loadings @ (np.eye(2) - beta @ loadings) @ loadings.T)
    np.testing.assert_allclose(turn(params, jnp.asarray(X))["scale"][0] ** 2, squares, rtol=1e-10)


@pytest.mark.parametrize("isotropic", [False, True])
def test_the_posterior_of_the_latent_is_the_conditioned_joint_normal(x64, isotropic):
    generator = np.random.default_rng(5)
    loadings, mean = generator.normal(size=(3, 4, 2)), generator.normal(size=(3, 4))
    scale = generator.uniform(0.5, 2, size=(3,) if isotropic else (3, 4))
    params = {"mean": jnp.asarray(mean), "loadings": jnp.asarray(loadings), "scale": jnp.asarray(scale)}
    x = generator.normal(size=(6, 4))
    posterior = em.latent_posterior(params, jnp.asarray(x))
    again = em.reconstruct(params, jnp.asarray(x))
    for s in range(3):
        sigma = covariance(params, s)
        # Of the joint normal of (u, x), with Cov(u, x) = Wᵀ.
        gain = np.linalg.solve(sigma, loadings[s]).T
        expected = (x - mean[s]) @ gain.T
        np.testing.assert_allclose(posterior.loc[:, s], expected, atol=1e-12)
        spread = np.broadcast_to(np.eye(2) - gain @ loadings[s], (6, 2, 2))
        np.testing.assert_allclose(posterior.covariance_matrix[:, s], spread, atol=1e-12)
        np.testing.assert_allclose(again[:, s], mean[s] + expected @ loadings[s].T, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fewer_examples_than_features_and_constant_features_stay_finite(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = data(6, 9, 2).astype(dtype)
        x[:, 3] = 1.0
        params, found, _, _ = em_updates(em.factor_analysis(2, latent=3), 2, x, 5)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(params["components"]))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params["components"])} == {dtype}
        np.testing.assert_array_less(-1e-3, np.diff(found))


def test_degrees_and_bad_input():
    family = em.factor_analysis(3, latent=2)
    params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X, jnp.float32))
    assert family.degrees(params) == 3 * (6 + 12 - 1 + 6)
    kept = jax.jit(family.maximize)(params, state, (jnp.zeros((3, 28)),))
    chex.assert_trees_all_equal(kept, params)
    with pytest.raises(ValueError, match="latent=6 must be less than the 6 features"):
        em.factor_analysis(1, latent=6).init(jax.random.key(0), jnp.asarray(X))
    with pytest.raises(ValueError, match="latent must be an integer ≥ 1, got 0"):
        em.factor_analysis(1, latent=0)
    with pytest.raises(ValueError, match="floor must be a finite number"):
        em.factor_analysis(1, latent=1, floor=-1.0)
    with pytest.raises(ValueError, match=r"got shape \[2, 3, 4\]; flatten images"):
        family.features(state, jnp.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="no values of its variable"):
        family.init(jax.random.key(0), None)
    with pytest.raises(ValueError, match=r"x must be \[examples, 6\]"):
        em.latent_posterior(params, jnp.zeros((2, 4)))


def test_features_of_very_different_scales_keep_their_noise_in_float32():
    """Rounding is that of each feature: a large one beside it is no floor."""
    x = np.random.default_rng(0).normal(size=(300, 4)) * np.array([3e3, 1, 1, 0.1])
    family = em.factor_analysis(1, latent=1)

    def fitted(x):
        params, state = family.init(jax.random.key(0), x)
        for _ in range(3):
            features, whole = family.features(state, x), jnp.ones((300, 1), x.dtype)
            params = family.maximize(params, state, family.statistics(family.prepare(params, state), features, whole))
        return params["scale"][0]

    narrow = jax.jit(fitted)(jnp.asarray(x, jnp.float32))
    with jax.enable_x64(True):
        wide = jax.jit(fitted)(jnp.asarray(x))
    np.testing.assert_allclose(narrow, wide, rtol=1e-3)
