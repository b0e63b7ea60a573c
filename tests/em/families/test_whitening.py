"""Whitening: what becomes of mean, covariance, medians and quartiles; constant and dependent features."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from vifx.em.families.whitening import robust_whitening, whiten, whitening

X = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1, 2, 0], [0, 3, 1], [0, 0, 0.1]]) + [5, -3, 1000]


def test_the_covariance_becomes_the_identity(x64):
    by = whitening(jnp.asarray(X), "full")
    white = np.asarray(whiten(by, jnp.asarray(X)))
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(3), atol=1e-5)
    np.testing.assert_array_equal(np.triu(by.matrix, 1), 0)
    np.testing.assert_allclose(white, (X - np.asarray(by.shift)) @ np.asarray(by.matrix).T, rtol=1e-12)


def test_the_variances_become_one_each_or_on_average(x64):
    each = np.asarray(whiten(whitening(jnp.asarray(X), "diagonal"), jnp.asarray(X)))
    np.testing.assert_allclose(each.var(0), 1, rtol=1e-9)
    together = np.asarray(whiten(whitening(jnp.asarray(X), "scalar"), jnp.asarray(X)))
    np.testing.assert_allclose(together.var(0), X.var(0) / X.var(0).mean(), rtol=1e-8)


@pytest.mark.parametrize("kind", ["full", "diagonal", "scalar"])
def test_medians_and_quartiles_whatever_the_outliers(x64, kind):
    x = np.concatenate([X, [[1e9, -1e9, 1e9]]])
    white = np.asarray(whiten(robust_whitening(jnp.asarray(x), kind), jnp.asarray(x)))
    np.testing.assert_allclose(np.median(white, axis=0), 0, atol=1e-12)
    apart = np.diff(np.quantile(x, [0.25, 0.75], axis=0), axis=0)[0]
    scale = np.full(3, (apart / 1.349).mean()) if kind == "scalar" else apart / 1.349
    np.testing.assert_allclose(np.diff(np.quantile(white, [0.25, 0.75], axis=0), axis=0)[0], apart / scale, rtol=1e-9)


@pytest.mark.parametrize("kind", ["full", "diagonal", "scalar"])
@pytest.mark.parametrize("make", [whitening, robust_whitening])
def test_constant_and_equal_features_are_finite(kind, make):
    x = jnp.asarray(np.stack([X[:, 0], X[:, 0], np.full(200, 7.0)], axis=1), jnp.float32)
    white = np.asarray(whiten(make(x, kind), x))
    assert np.all(np.isfinite(white))
    np.testing.assert_allclose(white[:, 2], 0, atol=1e-6)


def test_features_that_are_mostly_one_value_have_a_scale(x64):
    x = np.where(np.arange(20) == 0, 3.0, 0.0)[:, None]
    by = robust_whitening(jnp.asarray(x), "diagonal")
    np.testing.assert_allclose(by.matrix, 1 / np.sqrt(9 / 20), rtol=1e-12)


def test_fewer_examples_than_features(x64):
    by = whitening(jnp.asarray(X[:3]), "full")
    np.testing.assert_allclose(by.matrix, np.diag(1 / X[:3].std(0)), rtol=1e-9)
