"""Sample quality against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from vifx import evaluation


def test_coverage_and_density_of_a_perfect_generator():
    """Both sets from one distribution: the mean coverage is known exactly, the mean density is 1."""
    size, rounds = 60, 200
    results = []
    for seed in range(rounds):
        points = np.random.default_rng(seed).normal(size=(2, size, 3))
        results.append(evaluation.prdc(points[0], points[1], neighbours=5))
    for values, expected in (
        ([r.coverage for r in results], evaluation.expected_coverage(size, size, neighbours=5)),
        ([r.density for r in results], 1.0),
    ):
        error = np.std(values, ddof=1) / np.sqrt(rounds)
        assert abs(np.mean(values) - expected) < 4.3 * error
        assert error < 0.01


def test_expected_coverage_by_counting_orders():
    """All (m+n−1 choose ·) orders of distances are equally likely: enumerate who is among the nearest k."""
    from itertools import permutations

    real, generated, neighbours = 4, 3, 2
    others = ["real"] * (real - 1) + ["generated"] * generated
    orders = list(permutations(range(len(others))))
    covered = 0
    for order in orders:
        kinds = [others[i] for i in order]
        radius = [i for i, kind in enumerate(kinds) if kind == "real"][neighbours - 1]
        covered += "generated" in kinds[:radius]
    expected = covered / len(orders)
    assert evaluation.expected_coverage(real, generated, neighbours=neighbours) == pytest.approx(expected)


@pytest.mark.parametrize("offset", [-(2.0**30), 1e8])
def test_distances_do_not_depend_on_the_origin(offset):
    """The points are multiples of 2⁻²⁰, which the offset leaves exact."""
    generator = np.random.default_rng(0)
    real, generated = (np.round(2**20 * s * generator.normal(size=(200, 4))) / 2**20 for s in (1.0, 1.5))
    there = evaluation.prdc(real + offset, generated + offset)
    np.testing.assert_allclose(there, evaluation.prdc(real, generated), rtol=1e-12)
    np.testing.assert_allclose(there, (0.78, 1.0, 0.563, 0.885), atol=1e-3)
    np.testing.assert_allclose(
        evaluation.nearest_distances(generated + offset, real + offset),
        np.sqrt(((generated[:, None] - real[None]) ** 2).sum(-1).min(1)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        evaluation.frechet_distance(real + offset, generated + offset),
        evaluation.frechet_distance(real, generated),
        rtol=1e-5,
    )


def test_prdc_equals_brute_force():
    generator = np.random.default_rng(0)
    real, generated = generator.normal(size=(41, 4)), 0.7 * generator.normal(size=(41, 4)) + 0.3
    result = evaluation.prdc(real, generated, neighbours=3)

    def radius(points):
        return NearestNeighbors(n_neighbors=4).fit(points).kneighbors(points)[0][:, -1]

    distances = np.array([[np.linalg.norm(a - b) for b in generated] for a in real])
    inside = distances <= radius(real)[:, None]
    assert result.precision == inside.any(axis=0).mean()
    assert result.density == pytest.approx(inside.sum() / (3 * 41))
    assert result.coverage == inside.any(axis=1).mean()
    assert result.recall == (distances <= radius(generated)[None]).any(axis=1).mean()


def test_collapsed_generator_keeps_precision_and_loses_coverage():
    real = np.random.default_rng(0).normal(size=(200, 2))
    collapsed = 1e-3 * np.random.default_rng(1).normal(size=(200, 2))
    result = evaluation.prdc(real, collapsed)
    assert result.precision == 1.0
    assert result.coverage < 0.1
    assert result.recall < 0.1


def test_blocks_of_distances_give_the_same_result(monkeypatch):
    real, generated = np.random.default_rng(0).normal(size=(2, 50, 3))
    whole = evaluation.prdc(real, generated), evaluation.nearest_distances(real, generated)
    monkeypatch.setattr("vifx.evaluation.feature_rows._ROWS", 7)
    blocks = evaluation.prdc(real, generated), evaluation.nearest_distances(real, generated)
    assert whole[0] == blocks[0]
    np.testing.assert_allclose(whole[1], blocks[1], rtol=1e-12)


def test_frechet_distance_of_diagonal_gaussians():
    """Features whitened to chosen moments: ‖Δμ‖² + Σ (σ_a − σ_b)² for commuting covariances."""
    generator = np.random.default_rng(0)

    def exact(mean, deviation):
        x = generator.normal(size=(500, 3))
        x -= x.mean(axis=0)
        x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
        return x * deviation + mean

    a = exact(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 0.5]))
    b = exact(np.array([1.5, 2.0, 1.0]), np.array([2.0, 0.1, 0.5]))
    expected = 0.25 + 4.0 + 1.0 + 1.9**2
    assert evaluation.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert evaluation.frechet_distance(a, a[::-1]) == pytest.approx(0.0, abs=1e-6)


def test_frechet_distance_of_general_gaussians_equals_the_matrix_square_root():
    generator = np.random.default_rng(1)
    a = generator.normal(size=(300, 5)) @ generator.normal(size=(5, 5))
    b = generator.normal(size=(300, 5)) @ generator.normal(size=(5, 5)) + 0.3
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = np.trace(sqrtm(covariances[0] @ covariances[1]).real)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1]) - 2 * cross
    assert evaluation.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert evaluation.frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_nearest_distances_by_hand():
    reference = np.array([[0.0, 0.0], [10.0, 0.0]])
    queries = np.array([[3.0, 4.0], [10.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(evaluation.nearest_distances(queries, reference), [5.0, 2.0, 0.0])
    # Far from the origin the expanded square alone would not give an exact zero.
    far = 1e4 + np.random.default_rng(0).normal(size=(5, 2, 2))
    np.testing.assert_array_equal(evaluation.nearest_distances(far, far[::-1]), np.zeros(5))


def test_memorization_tells_copies_from_fresh_draws():
    generator = np.random.default_rng(0)
    train, test, fresh = generator.normal(size=(3, 400, 6))
    copies = evaluation.memorization(train[:100] + 1e-6, train, test)
    assert copies.closer > 0.999
    assert copies.samples.max() < 1e-4
    assert evaluation.memorization(train[:50] + 100, train, test).closer == 0.0
    # Under exchangeability the statistic is Mann-Whitney's U over mn, mean ½, deviation about 0.02 here.
    assert abs(evaluation.memorization(fresh, train, test).closer - 0.5) < 0.09
    assert evaluation.memorization(test, train, test).closer == pytest.approx(0.5)


def test_moment_errors_by_hand():
    data = np.array([[0.0, 1.0], [2.0, 1.0]])
    samples = np.array([[3.0, 1.0], [5.0, 5.0]])
    errors = evaluation.moment_errors(samples, data)
    assert errors["mean"] == pytest.approx(np.sqrt((3.0**2 + 2.0**2) / 2))
    assert errors["standard_deviation"] == pytest.approx(np.sqrt((0.0 + 2.0**2) / 2))


def test_images_are_flattened():
    images = np.random.default_rng(0).random(size=(2, 30, 4, 4, 1))
    assert evaluation.prdc(images[0], images[1]) == evaluation.prdc(
        images[0].reshape(30, -1), images[1].reshape(30, -1)
    )


@pytest.mark.parametrize("function", [evaluation.prdc, evaluation.frechet_distance])
def test_unequal_sizes_are_refused(function):
    with pytest.raises(ValueError, match=r"equally many rows.*got 20 and 19; take equal subsets"):
        function(np.zeros((20, 2)), np.zeros((19, 2)))


def test_bad_arguments():
    with pytest.raises(ValueError, match="neighbours must be from 1 to 4"):
        evaluation.prdc(np.zeros((5, 2)), np.zeros((5, 2)), neighbours=5)
    with pytest.raises(ValueError, match="equal features"):
        evaluation.nearest_distances(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="at least 2 rows"):
        evaluation.frechet_distance(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"samples must be \[n, features\]"):
        evaluation.moment_errors(np.zeros(3), np.zeros((3, 1)))


def test_frechet_distance_of_gaussians_in_closed_form():
    """Commuting covariances: ‖Δμ‖² + ‖Σ_a^½ − Σ_b^½‖²; singular ones are no exception; scipy's root for the others."""
    generator = np.random.default_rng(2)
    basis, _ = np.linalg.qr(generator.normal(size=(4, 4)))
    one, other = np.array([4.0, 1.0, 0.25, 0.0]), np.array([1.0, 9.0, 0.0, 0.0])
    a, b = (basis @ np.diag(spectrum) @ basis.T for spectrum in (one, other))
    expected = 5.0**2 + np.sum((np.sqrt(one) - np.sqrt(other)) ** 2)
    found = evaluation.gaussian_frechet_distance(np.zeros(4), a, [3.0, 0.0, 4.0, 0.0], b)
    assert found == pytest.approx(expected, rel=1e-6)
    a, b = (factor @ factor.T for factor in generator.normal(size=(2, 4, 4)))
    expected = np.trace(a + b) - 2 * np.trace(sqrtm(a @ b).real)
    for first, second in ((a, b), (b, a)):
        found = evaluation.gaussian_frechet_distance(np.ones(4), first, np.ones(4), second)
        assert found == pytest.approx(expected, rel=1e-8)
    with pytest.raises(ValueError, match="covariance_b must be symmetric and positive semidefinite, got an asymmetry"):
        evaluation.gaussian_frechet_distance([0.0, 0.0], np.eye(2), [0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"smallest eigenvalue of -1"):
        evaluation.gaussian_frechet_distance([0.0, 0.0], np.diag([1.0, -1.0]), [0.0, 0.0], np.eye(2))
    with pytest.raises(ValueError, match=r"got shapes \(2,\), \(1, 1\)"):
        evaluation.gaussian_frechet_distance([0.0, 0.0], np.eye(1), [0.0, 0.0], np.eye(2))
