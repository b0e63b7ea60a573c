"""FMD: against the closed form of Gaussians, with what it depends on beside it."""

from __future__ import annotations

import numpy as np
import pytest

from vifx import evaluation


def flat(images):
    return images.reshape(len(images), -1).astype(np.float64)


FEATURES = evaluation.Features(flat, "00ff00ff00ff", 0.912)
generator = np.random.default_rng(0)
REAL = generator.integers(0, 256, (50, 2, 3, 1)).astype(np.uint8)


def test_fmd_is_the_frechet_distance_of_the_features():
    """A shift by a constant moves the means alone: distance 6·10², over the trace of the covariance."""
    data = (REAL // 2).astype(np.uint8)
    found = evaluation.fmd(FEATURES, data + np.uint8(10), data)
    assert found.distance == pytest.approx(600, rel=1e-6)
    assert found.relative == pytest.approx(600 / np.trace(np.cov(flat(data), rowvar=False)), rel=1e-6)
    assert str(found) == "FMD 600.00 (n = 50, features 00ff00ff00ff of test accuracy 91.2%)"


def test_fmd_of_spreads():
    """Halving the spread about the mean: (σ − σ/2)² in every direction, a quarter of tr Σ."""
    data = np.concatenate([REAL // 2 * 2, 254 - REAL // 2 * 2]).astype(np.uint8)
    narrow = (data.astype(float) / 2 + 63.5) / 255
    found = evaluation.fmd(evaluation.Features(flat, "", 1.0), np.floor(255 * narrow).astype(np.uint8), data)
    assert found.relative == pytest.approx(0.25, abs=2e-3)


def test_a_constant_sampler_is_about_one_in_relative_distance():
    mean = np.broadcast_to(REAL.mean(axis=0) / 255, REAL.shape)
    assert evaluation.fmd(FEATURES, mean, REAL).relative == pytest.approx(1, abs=1e-3)


def test_floats_are_rounded_to_the_levels_of_data():
    exact = REAL / 255
    np.testing.assert_array_equal(FEATURES(exact.astype(np.float32)), flat(REAL))
    near = np.clip(exact + generator.uniform(-0.49, 0.49, REAL.shape) / 255, 0, 1)
    np.testing.assert_array_equal(FEATURES(near), flat(REAL))
    assert evaluation.fmd(FEATURES, near, REAL).distance == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.fmd(FEATURES, REAL[:40], REAL), "equally many.*got 40 and 50; take equal subsets"),
        (lambda: evaluation.fmd(FEATURES, REAL[:1], REAL[:1]), "at least 2 rows"),
        (
            lambda: evaluation.fmd(FEATURES, REAL, np.full_like(REAL, 7)),
            "features with spread.*got tr Σ = 0 in 50 images",
        ),
        (
            lambda: evaluation.fmd(evaluation.Features(lambda x: np.full((len(x), 3), 0.1), "", 1.0), REAL, REAL),
            "features with spread",
        ),
        (lambda: FEATURES(REAL.astype(float)), "uint8 or floats in .0, 1., got values from 0.0 to 255.0"),
        (lambda: FEATURES(np.full((2, 2, 3, 1), np.nan)), "got values from nan"),
        (lambda: FEATURES(REAL[..., 0]), r"got shape \(50, 2, 3\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
