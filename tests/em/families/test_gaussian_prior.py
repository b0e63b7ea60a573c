"""Maximum a posteriori of Gaussian mixtures: the objective, the M step, and the prior's density."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from em.families.trajectories import check_step, check_turns

from vifx import em
from vifx.em import NormalInverseWishart

KINDS = ["full", "tied", "diagonal", "spherical"]
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=(30, 2)), RNG.normal(size=(30, 2)) @ [[1, 0.5], [0, 0.3]] + [2, 1]]) * [1, 5] + 7
SCALES = {"full": [[2.0, 0.5], [0.5, 1.0]], "tied": [[2.0, 0.5], [0.5, 1.0]], "diagonal": [2.0, 1.0], "spherical": 1.5}


def given(kind):
    return NormalInverseWishart(mean=[6.0, 8.0], scale=SCALES[kind], confidence=0.7, degrees=5.0)


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, kind):
    check_turns(em.gaussian(3, covariance=kind, prior=NormalInverseWishart(confidence=0.1)), X, 3, steps=3000)


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", KINDS)
def test_the_m_step_is_the_maximum(x64, kind):
    check_step(em.gaussian(3, covariance=kind, prior=given(kind)), X, 3, kept=())


@pytest.mark.parametrize("kind", KINDS)
def test_the_prior_is_scipys_up_to_a_constant(x64, kind):
    """Differences of the log-density between two parameters, of the inverse Wishart and the normal distribution."""
    prior = given(kind)
    family = em.gaussian(2, covariance=kind, prior=prior)
    state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X))[1]
    log_prior = jax.jit(family.log_prior)
    found, expected = [], []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        mean = rng.normal(6, 2, (2, 2))
        if kind in ("full", "tied"):
            scale_tril = np.tril(rng.normal(size=(2, 2, 2))) + 2 * np.eye(2)
            scale_tril = scale_tril[0] if kind == "tied" else scale_tril
            params = {"mean": mean, "scale_tril": scale_tril}
            covariances = np.broadcast_to(scale_tril @ np.swapaxes(scale_tril, -1, -2), (2, 2, 2))
            drawn = covariances[:1] if kind == "tied" else covariances
            total = sum(scipy.stats.invwishart.logpdf(c, 5, np.array(prior.scale)) for c in drawn)
        else:
            scale = rng.uniform(0.5, 3, (2, 2) if kind == "diagonal" else 2)
            params = {"mean": mean, "scale": scale}
            variances = np.broadcast_to(scale**2 if kind == "diagonal" else scale[:, None] ** 2, (2, 2))
            covariances = np.stack([np.diag(v) for v in variances])
            rate = np.array(prior.scale) / 2
            total = scipy.stats.invgamma.logpdf(scale**2, 5 / 2, scale=rate).sum()
        total += sum(
            scipy.stats.multivariate_normal.logpdf(m, prior.mean, c / 0.7)
            for m, c in zip(mean, covariances, strict=True)
        )
        expected.append(total)
        found.append(float(log_prior(jax.tree.map(jnp.asarray, params), state)))
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-10)


@pytest.mark.thorough
def test_by_default_it_is_of_the_datas_mean_and_covariance(x64):
    """Without examples the M step is the prior's mode: m and Ψ/(ν + d + 2)."""
    family = em.gaussian(2, covariance="full", prior=NormalInverseWishart(confidence=0.5))
    params, state = jax.jit(family.init)(jax.random.key(0), jnp.asarray(X))
    statistics = family.statistics((), family.features(state, jnp.asarray(X)), jnp.zeros((60, 2)))
    mode = family.maximize(params, state, statistics)
    np.testing.assert_allclose(mode["mean"], np.broadcast_to(X.mean(0), (2, 2)), rtol=1e-9)
    covariance = np.cov(X.T, bias=True) / 2 / (4 + 2 + 2)
    np.testing.assert_allclose(mode["scale_tril"][1] @ mode["scale_tril"][1].T, covariance, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": -1.0}, "confidence must be a finite number ≥ 0, got -1.0"),
        ({"degrees": float("nan")}, "degrees must be a finite number ≥ 0"),
        ({"mean": [np.inf, 0.0]}, "mean must be finite"),
    ],
)
def test_bad_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        NormalInverseWishart(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees": 1.0}, r"degrees must be above 1 for data \[2\], got 1"),
        ({"mean": [1.0]}, r"mean must have the shape \[2\] for data \[2\], got \[1\]"),
        ({"scale": 2.0}, r"scale must have the shape \[2, 2\] for data \[2\], got \[\]"),
    ],
)
def test_a_prior_that_does_not_fit_the_data(options, message):
    family = em.gaussian(2, prior=NormalInverseWishart(**options))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(family.init, jax.random.key(0), jnp.asarray(X, jnp.float32))


def test_a_prior_is_a_prior():
    with pytest.raises(TypeError, match=r"prior must be a NormalInverseWishart or None, got 0\.1"):
        em.gaussian(2, prior=0.1)
