"""Latent diagnostics against closed forms, NumPyro and scikit-learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import vifx.distributions as distributions
from vifx import evaluation, flows, networks
from vifx.core.factor import evidence, factor, implicit, transformed
from vifx.core.joint import Joint

X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)


def encoder(x):
    return distributions.Normal(2 * x[:, :2], jnp.exp(x[:, 1:])).to_event(1)


def test_encode_returns_the_moments_of_the_encoder():
    codes = evaluation.encode(
        jax.random.key(0), Joint(evidence("x"), factor("z | x", encoder)), {}, {}, {"x": X}, batch_size=10
    )
    np.testing.assert_allclose(codes.mean, 2 * X[:, :2], rtol=1e-6)
    np.testing.assert_allclose(codes.variance, np.exp(2 * X[:, 1:]), rtol=1e-5)
    white = (codes.sample - codes.mean) / np.sqrt(codes.variance)
    assert len(np.unique(white)) == white.size
    assert abs(white.mean()) < 4.3 / np.sqrt(white.size)
    assert 0.5 < white.std() < 1.5


def test_encode_a_deterministic_encoder():
    codes = evaluation.encode(
        jax.random.key(0), Joint(evidence("x"), implicit("z | x", lambda x: 3 * x)), {}, {}, {"x": X}
    )
    np.testing.assert_allclose(codes.mean, 3 * X, rtol=1e-6)
    np.testing.assert_array_equal(codes.variance, np.zeros_like(X))
    np.testing.assert_array_equal(codes.sample, codes.mean)


@pytest.mark.thorough
def test_encode_a_flow_by_its_draws():
    """A posterior without a mean is described by a hundred draws of its own for every example."""
    posterior = flows.conditional_affine(networks.MLP((4,)))
    inference = Joint(evidence("x"), transformed("z | x", distributions.standard_normal(2), posterior, name="encoder"))
    params, state = inference.init(jax.random.key(0), {"x": jnp.asarray(X)})
    params["encoder"]["head"]["bias"] = jnp.asarray([2.0, -1.0, np.log(0.5), 0.0])
    codes = evaluation.encode(jax.random.key(1), inference, params, state, {"x": X})
    error = np.array([0.5, 1.0]) / np.sqrt(100 * len(X))
    np.testing.assert_array_less(np.abs(codes.mean.mean(0) - [2, -1]), 4.3 * error)
    np.testing.assert_allclose(codes.variance.mean(0), [0.25, 1.0], rtol=4.3 * np.sqrt(2 / (100 * len(X))))
    assert len(np.unique(codes.sample)) == codes.sample.size


def test_encode_refuses_what_is_no_latent():
    inference = Joint(evidence("x"), factor("z | x", encoder))
    for name in ("x", "w"):
        with pytest.raises(ValueError, match=rf"variable must be a latent of .* one of \['z'\], got '{name}'"):
            evaluation.encode(jax.random.key(0), inference, {}, {}, {"x": X}, variable=name)


def test_active_units_of_a_known_encoder():
    mean = np.stack([np.linspace(-1, 1, 101), np.full(101, 5.0), 0.05 * np.linspace(-1, 1, 101)], axis=1)
    activity = evaluation.active_units(mean)
    np.testing.assert_allclose(activity, np.var(mean, axis=0, ddof=1), rtol=1e-12)
    assert (activity > 0.01).tolist() == [True, False, False]


def test_kl_per_latent_equals_numpyro():
    generator = np.random.default_rng(1)
    mean, variance = generator.normal(size=(9, 4)), generator.uniform(0.1, 2, size=(9, 4))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = numpyro.distributions.kl_divergence(
            numpyro.distributions.Normal(mean, np.sqrt(variance)), numpyro.distributions.Normal(0.0, 1.0)
        )
    np.testing.assert_allclose(evaluation.kl_per_latent(mean, variance), expected.mean(axis=0), rtol=1e-5)


def test_aggregated_posterior_obeys_the_law_of_total_variance():
    generator = np.random.default_rng(2)
    mean, variance = generator.normal(size=(5, 2)), generator.uniform(0.1, 2, size=(5, 2))
    draws = mean[:, None] + np.sqrt(variance)[:, None] * generator.normal(size=(5, 200_000, 2))
    draws = draws.reshape(-1, 2)
    centre, covariance = evaluation.aggregated_posterior(mean, variance)
    np.testing.assert_allclose(centre, draws.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(covariance, np.cov(draws, rowvar=False), atol=0.02)


def test_principal_components_equal_scikit_learn():
    codes = np.random.default_rng(3).normal(size=(50, 6)) * np.arange(1, 7) + 4
    projected, shares = evaluation.principal_components(codes, count=3)
    pca = PCA(n_components=3).fit(codes)
    np.testing.assert_allclose(np.abs(projected), np.abs(pca.transform(codes)), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, rtol=1e-9)
    loadings = np.linalg.lstsq(codes - codes.mean(axis=0), projected, rcond=None)[0]
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(3)] > 0).all()
    flipped, _ = evaluation.principal_components(-codes, count=3)
    np.testing.assert_allclose(flipped, -projected, rtol=1e-7, atol=1e-9)


def test_codes_for_figures():
    values = evaluation.normal_quantiles(5, tail=0.1)
    np.testing.assert_allclose(values, [-1.281552, -0.524401, 0, 0.524401, 1.281552], atol=1e-6)
    codes = evaluation.traversal_codes(np.array([9.0, 8.0, 7.0]), (2, 0), values)
    np.testing.assert_array_equal(codes[0, :, 2], values)
    np.testing.assert_array_equal(codes[0, :, :2], np.tile([9.0, 8.0], (5, 1)))
    np.testing.assert_array_equal(codes[1, :, 0], values)
    np.testing.assert_array_equal(codes[1, :, 1:], np.tile([8.0, 7.0], (5, 1)))
    grid = evaluation.manifold_codes(values)
    np.testing.assert_array_equal(grid[3, 1], [values[1], values[3]])
    with pytest.raises(ValueError, match="index the 3 latents of origin, got 3"):
        evaluation.traversal_codes(np.zeros(3), (0, 3), values)
    with pytest.raises(ValueError, match=r"tail must be a number in \(0, 0\.5\)"):
        evaluation.normal_quantiles(5, tail=0.5)


def test_probe_accuracies_on_separable_codes():
    """Two classes on rings: neighbours tell them apart perfectly, a plane cannot."""
    generator = np.random.default_rng(0)
    angles = generator.uniform(0, 2 * np.pi, size=400)
    labels = np.arange(400) % 2
    codes = (1 + 2 * labels)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    split = codes[:300], labels[:300], codes[300:], labels[300:]
    assert evaluation.nearest_neighbour_accuracy(*split) == 1.0
    assert evaluation.linear_probe_accuracy(*split) < 0.75
    shifted = codes + 8 * labels[:, None]
    assert evaluation.linear_probe_accuracy(shifted[:300], labels[:300], shifted[300:], labels[300:]) == 1.0


def test_probes_on_digits_equal_scikit_learn():
    x, y = load_digits(return_X_y=True)
    split = x[:400], y[:400], x[400:800], y[400:800]
    distances = np.linalg.norm(split[2][:, None] - split[0][None], axis=-1)
    expected = np.mean(split[1][distances.argmin(axis=1)] == split[3])
    assert evaluation.nearest_neighbour_accuracy(*split) == pytest.approx(expected)
    mean, deviation = split[0].mean(axis=0), split[0].std(axis=0)
    white = [(part - mean) / np.where(deviation > 0, deviation, 1) for part in (split[0], split[2])]
    probe = LogisticRegression(C=1 / (0.01 * 400), max_iter=1000).fit(white[0], split[1])
    accuracy = evaluation.linear_probe_accuracy(*split, regularization=0.01)
    assert accuracy == pytest.approx(probe.score(white[1], split[3]))
    with pytest.raises(ValueError, match="regularization must be a finite number > 0"):
        evaluation.linear_probe_accuracy(*split, regularization=0.0)
