"""Gaussian components that collapse: the floor of their variances, and features that are constant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from em.families.trajectories import trajectory

from vifx import em

KINDS = ["full", "tied", "diagonal", "spherical"]
RNG = np.random.default_rng(0)
FAR = np.concatenate([RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2)) * [0.5, 2] + [2, 1]]) + 1000


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_component_on_one_point_has_the_floor(x64, kind):
    x = FAR[:20]
    family = em.gaussian(2, covariance=kind, floor=0.01)
    responsibilities = np.eye(2)[(np.arange(20) > 0).astype(int)]

    @jax.jit
    def run(key, x, responsibilities):
        params, state = family.init(key, x)
        features = family.features(state, x)
        best = family.maximize(params, state, family.statistics((), features, responsibilities))
        return best, family.log_probs(family.prepare(best, state), features)

    best, log_probs = run(jax.random.key(0), jnp.asarray(x), jnp.asarray(responsibilities))
    assert np.all(np.isfinite(log_probs))
    np.testing.assert_allclose(best["mean"][0], x[0], rtol=1e-12)
    if kind in ("diagonal", "spherical"):
        np.testing.assert_allclose(best["scale"][0], 0.1 * np.ones_like(best["scale"][0]), rtol=1e-9)
    if kind == "full":
        np.testing.assert_allclose(best["scale_tril"][0], 0.1 * np.eye(2), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_floor_is_the_constrained_maximum(x64, kind):
    """Against a numerical optimum over ``Σ = floor I + B Bᵀ``, of data with one variance below the floor."""
    x = (np.random.default_rng(1).normal(size=(30, 2)) * [1, 0.05]) @ [[0.8, 0.6], [-0.6, 0.8]]
    x = x if kind in ("full", "tied") else np.random.default_rng(1).normal(size=(30, 2)) * [1, 0.05]
    floor = 0.04 if kind != "spherical" else 2.0
    family = em.gaussian(1, covariance=kind, floor=floor)
    params, _ = jax.jit(family.init)(jax.random.key(0), jnp.asarray(x))
    apart = x - x.mean(0)

    def covariance(free):
        if kind == "spherical":
            return (floor + free[0] ** 2) * np.eye(2)
        if kind == "diagonal":
            return np.diag(floor + free[:2] ** 2)
        root = np.array([[free[0], 0], [free[1], free[2]]])
        return floor * np.eye(2) + root @ root.T

    def loss(free):
        sigma = covariance(free)
        return 0.5 * np.mean(np.sum(apart @ np.linalg.inv(sigma) * apart, axis=1)) + 0.5 * np.linalg.slogdet(sigma)[1]

    found = scipy.optimize.minimize(loss, np.array([0.7, 0.2, 0.3]), method="BFGS", options={"gtol": 1e-9})
    if kind in ("full", "tied"):
        tril = np.asarray(params["scale_tril"]).reshape(2, 2)
        ours = tril @ tril.T
        assert np.linalg.eigvalsh(np.cov(x.T))[0] < floor / 4
    else:
        ours = np.diag(np.broadcast_to(np.asarray(params["scale"][0]) ** 2, 2))
    np.testing.assert_allclose(ours, covariance(found.x), atol=2e-5)


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_feature_has_the_floor_and_is_said(kind, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = np.concatenate([FAR[::3], np.full((40, 1), 5.0)], axis=1).astype(dtype)
        family = em.gaussian(2, covariance=kind, floor=1e-4)
        values, _, params, _, _ = trajectory(family, x, 2, steps=5, slope=False)
        assert np.all(np.isfinite(values))
        np.testing.assert_allclose(params["components"]["mean"][:, 2], 5.0, rtol=1e-6)
        em.check_values(family, x)
        said = family.remarks(params["components"], x)
        assert said[0] == "feature 2 is 5 in all 40 examples: its variance is the floor, 0.0001"
        assert len(said) == 1
        without = em.gaussian(2, covariance=kind, floor=0.0)
        with pytest.raises(ValueError, match=r"feature 2, of 1 constant ones, is 5 in all 40 .* a floor above 0"):
            em.check_values(without, x)


@pytest.mark.thorough
@pytest.mark.parametrize("floor", [1e-6, 0.0])
@pytest.mark.parametrize("kind", ["full", "tied"])
def test_data_in_a_plane_never_lower_the_likelihood(x64, kind, floor):
    """Half of them thirty times as wide, times a million: the rounding of variances is far above the floor."""
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 2)) @ random.normal(size=(2, 3))
    x[40:] *= 30
    values, _, _, _, _ = trajectory(em.gaussian(4, covariance=kind, floor=floor), 1e6 * x, 4, steps=30, slope=False)
    assert np.diff(values).min() > -1e-6
    assert values[-1] - values[0] > 0.05


def test_the_least_covariance_of_features_of_any_scale_is_the_constrained_maximum(x64):
    """``Σ ⪰ floor I`` where one feature is a thousand times the other, correlated: against a numerical optimum."""
    random = np.random.default_rng(3)
    base = random.normal(size=(50, 2))
    x = np.stack([1e3 * base[:, 0], base[:, 0] + 1e-3 * base[:, 1]], axis=1)
    params, _ = jax.jit(em.gaussian(1, floor=0.01).init)(jax.random.key(0), jnp.asarray(x))
    second = np.cov(x.T, bias=True)
    values, vectors = np.linalg.eigh(second)
    assert values[0] < 1e-4
    found = params["scale_tril"][0] @ params["scale_tril"][0].T
    np.testing.assert_allclose(found, vectors @ np.diag(np.maximum(values, 0.01)) @ vectors.T, rtol=1e-6)
