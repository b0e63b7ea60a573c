"""Probabilistic PCA against scikit-learn's PCA, the density by SciPy and the gradient at the maximum."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from em.families.factor_models import covariance, data, em_updates, log_likelihood
from sklearn.decomposition import PCA

from vifx import em

X = data(120, 6, 2, noise=(0.9, 1.1))
TWO = np.concatenate([data(60, 4, 1, seed=1), data(70, 4, 1, seed=2) - 9.0])


@pytest.mark.thorough
def test_one_turn_is_scikit_learns_pca(x64):
    """Whose covariances divide by N − 1; with N they are of maximum likelihood."""
    params, found, _, _ = em_updates(em.ppca(1, latent=2), 1, X, 2)
    components = params["components"]
    peer = PCA(2).fit(X)
    share = (len(X) - 1) / len(X)
    np.testing.assert_allclose(components["scale"][0] ** 2, peer.noise_variance_ * share, rtol=1e-11)
    np.testing.assert_allclose(covariance(components, 0), peer.get_covariance() * share, rtol=0, atol=1e-10)
    np.testing.assert_allclose(components["mean"][0], peer.mean_, rtol=1e-12)
    peer.explained_variance_, peer.noise_variance_ = peer.explained_variance_ * share, peer.noise_variance_ * share
    assert abs(found[1] - peer.score(X)) < 1e-9
    posterior = em.latent_posterior(components, jnp.asarray(X))
    # Up to a rotation (here signs and order), the latents are scikit-learn's, shrunk by 1 − σ²/λ and of unit variance.
    values = peer.explained_variance_
    expected = peer.transform(X) * (np.sqrt(values - peer.noise_variance_) / values)
    np.testing.assert_allclose(np.abs(posterior.loc[:, 0, ::-1]), np.abs(expected), atol=1e-9)


@pytest.mark.thorough
def test_it_is_a_maximum(x64):
    params, _, _, (objective, _, state, batch) = em_updates(em.ppca(1, latent=2), 1, X, 2)
    loss = jax.jit(jax.value_and_grad(lambda p: objective.players["model"].loss(jax.random.key(0), p, state, batch)[0]))
    value, gradient = loss(params)
    assert abs(float(value) + log_likelihood(params, X)) < 1e-11
    for leaf in jax.tree.leaves(gradient["components"]):
        np.testing.assert_allclose(leaf, 0, atol=1e-11)
    for name in ("mean", "loadings", "scale"):
        own = params["components"][name]
        for sign in (-1.0, 1.0):
            moved = {**params["components"], name: own + sign * 1e-2}
            assert log_likelihood({**params, "components": moved}, X) < -float(value)


@pytest.mark.thorough
def test_a_mixture_climbs_to_a_point_where_its_gradient_is_zero(x64):
    params, found, _, (objective, first, state, batch) = em_updates(em.ppca(2, latent=2), 2, TWO, 500)
    assert np.diff(found).min() > -1e-12
    np.testing.assert_allclose(found[0], log_likelihood(first, TWO), rtol=0, atol=1e-11)
    gradient = jax.jit(jax.grad(lambda p: objective.players["model"].loss(jax.random.key(0), p, state, batch)[0]))(
        params
    )
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_in_a_plane_and_fewer_examples_than_features_have_the_noise_of_the_floor(dtype):
    with jax.enable_x64(dtype == "float64"):
        generator = np.random.default_rng(0)
        flat = (generator.normal(size=(20, 1)) @ generator.normal(size=(1, 5))).astype(dtype)
        params, _, _, _ = em_updates(em.ppca(1, latent=2, floor=0.01), 1, flat, 3)
        np.testing.assert_allclose(params["components"]["scale"], [0.1], rtol=1e-5)
        params, found, _, _ = em_updates(em.ppca(1, latent=4), 1, data(4, 9, 2).astype(dtype), 3)
        assert np.all(np.isfinite(found))
        assert params["components"]["loadings"].dtype == dtype


def test_degrees_and_bad_input():
    family = em.ppca(2, latent=3)
    params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X, jnp.float32))
    assert family.degrees(params) == 2 * (6 + 18 - 3 + 1)
    kept = jax.jit(family.maximize)(params, state, (jnp.zeros((2, 28)),))
    chex.assert_trees_all_equal(kept, params)
    with pytest.raises(ValueError, match=r"ppca: latent=7 must be less than the 6 features"):
        em.ppca(1, latent=7).init(jax.random.key(0), jnp.asarray(X))
