"""Gaussian mixtures against scikit-learn, an iteration at a time, also far from the origin in single precision."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from em.families.trajectories import check_step, started, trajectory
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

from vifx import em

KINDS = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
IRIS = load_iris().data
RNG = np.random.default_rng(0)
FAR = np.concatenate([RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2)) * [0.5, 2] + [2, 1]]) + 1000


def sklearns(kind, params, x, steps):
    """The mean log-likelihood of scikit-learn's EM before each turn, and its mixture at the end."""
    own = params["components"]
    if kind in ("full", "tied"):
        tril = np.asarray(own["scale_tril"])
        precisions = np.linalg.inv(tril @ np.swapaxes(tril, -1, -2))
    else:
        precisions = 1 / np.asarray(own["scale"]) ** 2
    weights, means = np.exp(params["weights"]["logits"][0]), np.asarray(own["mean"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged after one turn
        mixture = GaussianMixture(
            len(means), covariance_type=KINDS[kind], weights_init=weights, means_init=means,
            precisions_init=precisions, max_iter=1, warm_start=True, tol=0, reg_covar=0,
        )  # fmt: skip
        values = [mixture.fit(x).lower_bound_ for _ in range(steps)]
    return np.array(values), mixture


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_every_iteration_is_scikit_learns(x64, kind):
    family = em.gaussian(3, covariance=kind, floor=0.0)
    start = started(family, IRIS, 3)
    _, found, params, _, _ = trajectory(family, IRIS, 3, steps=15, start=start, slope=False)
    expected, mixture = sklearns(kind, start[0], IRIS, 15)
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)
    np.testing.assert_allclose(params["components"]["mean"], mixture.means_, rtol=1e-9)
    np.testing.assert_allclose(np.exp(params["weights"]["logits"][0]), mixture.weights_, rtol=1e-9)
    assert family.degrees(params["components"]) + 2 == mixture._n_parameters()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_origin(kind):
    """Mean 1000, scale 1: float64 within 1e-8 of scikit-learn, float32 within 1e-3 of float64."""
    family = em.gaussian(2, covariance=kind)
    x = FAR.astype(np.float32)
    with jax.enable_x64(True):
        start = started(family, x.astype(np.float64), 2)
        _, double, _, _, _ = trajectory(family, x.astype(np.float64), 2, steps=15, start=start, slope=False)
        expected, _ = sklearns(kind, start[0], x.astype(np.float64), 15)
        np.testing.assert_allclose(double, expected, atol=1e-8, rtol=0)
    single = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float32)), start)
    _, found, _, _, _ = trajectory(family, x, 2, steps=15, start=single, slope=False)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, double, atol=1e-3, rtol=0)


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", KINDS)
def test_densities_statistics_and_m_step(x64, kind):
    check_step(em.gaussian(2, covariance=kind), FAR[::4] - 999, 2, kept=("mean",) if kind == "tied" else None)


def test_values_that_are_not_finite():
    family = em.gaussian(2)
    x = FAR[:10].astype(np.float32)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"gaussian: values must be finite, got nan at \[3, 1\], and 0 more"):
        em.check_values(family, x)
    with pytest.raises(ValueError, match=r"gaussian: values must be finite, got nan at \[3, 1\]"):
        family.init(jax.random.key(0), jnp.asarray(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "diag"}, "covariance must be one of full, tied, diagonal, spherical; got 'diag'"),
        ({"floor": -1.0}, "gaussian: floor must be a finite number ≥ 0, got -1.0"),
        ({"states": 0}, "states must be an integer ≥ 1, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        em.gaussian(**{"states": 2, **options})


def test_values_of_another_shape():
    family = em.gaussian(2)
    with pytest.raises(ValueError, match=r"must be vectors \[examples, d\].*flatten"):
        family.init(jax.random.key(0), jnp.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="gaussian: its parameters are initialized from data"):
        family.init(jax.random.key(0), None)
