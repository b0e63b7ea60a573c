"""Mode coverage: against loops, quadrature and the mixture itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from vifx import data, evaluation

GRID = data.modes("grid25")


def by_loops(samples, centres, scale, radius):
    captured, near = set(), 0
    counts = [0] * len(centres)
    for sample in samples:
        ranked = sorted((math.dist(sample, centre) / scale, k) for k, centre in enumerate(centres))
        counts[ranked[0][1]] += 1
        near += ranked[0][0] <= radius
        captured |= {k for distance, k in ranked if distance <= radius}
    shares = [count / len(samples) for count in counts]
    kl = sum(share * math.log(share * len(centres)) for share in shares if share)
    return len(captured), near / len(samples), counts, kl


@pytest.mark.parametrize("radius", [1.0, 3.0, 50.0])
def test_mode_coverage_agrees_with_loops(radius):
    samples = np.random.default_rng(0).normal(size=(400, 2)) * 1.5
    samples[:50] = GRID.centres[:10].repeat(5, axis=0) + 0.1
    found = evaluation.mode_coverage(samples, GRID.centres, 0.05, radius=radius)
    captured, high_quality, counts, kl = by_loops(samples, GRID.centres, 0.05, radius)
    assert found.captured == captured
    assert found.high_quality == pytest.approx(high_quality)
    assert found.counts.tolist() == counts
    assert found.counts_kl == pytest.approx(kl)


def test_a_perfect_generator_scores_what_is_expected():
    samples = data.load(data.Config("grid25", validation=0)).train["x"]
    found = evaluation.mode_coverage(samples, GRID.centres, GRID.scale)
    expected = evaluation.expected_high_quality(2)
    assert found.captured == 25
    assert abs(found.high_quality - expected) < 4 * math.sqrt(expected * (1 - expected) / len(samples))
    # 2n times the divergence is χ² with 24 degrees of freedom.
    assert stats.chi2(24).sf(2 * len(samples) * found.counts_kl) > 1e-3
    assert found.counts.sum() == len(samples)


def test_a_collapsed_generator_looks_perfect_but_for_its_modes():
    found = evaluation.mode_coverage(np.tile(GRID.centres[7], (100, 1)), GRID.centres, GRID.scale)
    assert found[:2] == (1, 1.0)
    assert found.counts_kl == pytest.approx(math.log(25))


def test_distances_are_in_units_of_each_mode():
    """At 1.2 the wide mode at 2 is 0.8 scales away and the narrow one at 1 two of its own."""
    found = evaluation.mode_coverage([[1.2]], [[1.0], [2.0]], [0.1, 1.0], radius=1.0)
    assert found[:2] == (1, 1.0)
    assert found.counts.tolist() == [0, 1]


@pytest.mark.parametrize("dimensions", [1, 2, 5])
@pytest.mark.parametrize("radius", [1.0, 3.0])
def test_expected_high_quality_by_quadrature(dimensions, radius):
    exact = integrate.quad(stats.chi(dimensions).pdf, 0, radius)[0]
    assert evaluation.expected_high_quality(dimensions, radius=radius) == pytest.approx(exact, rel=1e-9)
    if dimensions == 2:
        assert exact == pytest.approx(1 - math.exp(-(radius**2) / 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.mode_coverage(np.zeros((3, 1)), GRID.centres, 0.1), r"shapes \(3, 1\) and \(25, 2\)"),
        (lambda: evaluation.mode_coverage(np.zeros((0, 2)), GRID.centres, 0.1), "at least one of each"),
        (lambda: evaluation.mode_coverage(np.zeros((3, 2)), GRID.centres, 0.0), "scale must be positive"),
        (lambda: evaluation.mode_coverage(np.zeros((3, 2)), GRID.centres, [0.1, 0.2]), "one for each of 25 modes"),
        (
            lambda: evaluation.mode_coverage(np.zeros((3, 2)), GRID.centres, 0.1, radius=0.0),
            "radius must be a finite number > 0",
        ),
        (lambda: evaluation.mode_coverage([[0.0, np.nan], [0, 0]], GRID.centres, 0.1), "1 of 2 that are not"),
        (lambda: evaluation.expected_high_quality(0), "dimensions must be an integer ≥ 1, got 0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
