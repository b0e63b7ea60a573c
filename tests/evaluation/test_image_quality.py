"""FMD: against the closed form of Gaussians, with what it depends on beside it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import evaluation
from vifx.distributions import Normal


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


TEST = {"x": np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1)).astype(np.uint8)}


def pixels(images):
    return np.asarray(images, np.float64).reshape(len(images), -1)


def test_image_quality_is_the_named_measures_of_the_same_features():
    calls = []

    def features():
        calls.append(1)
        return evaluation.Features(pixels, "0123456789ab", 0.9)

    train = {"x": np.random.default_rng(1).integers(0, 256, (60, 2, 2, 1)).astype(np.uint8)}
    drawn = np.random.default_rng(2).random((30, 2, 2, 1)).astype(np.float32)
    measure = evaluation.measure_image_quality(
        lambda key, params, state, n, temperature: drawn[:n], TEST, features, n=30, train=train, memorized=20
    )
    assert not calls
    found = measure(jax.random.key(0), {}, {})
    measure(jax.random.key(0), {}, {})
    assert len(calls) == 1
    levels, real = np.floor(255 * drawn + 0.5), TEST["x"][:30]
    distance = evaluation.frechet_distance(levels, real)
    assert found["fmd"] == pytest.approx(distance)
    assert found["fmd/relative"] == pytest.approx(distance / np.trace(np.cov(pixels(real), rowvar=False)))
    expected = evaluation.prdc(real, levels, neighbours=5)
    for name, value in expected._asdict().items():
        assert found[name] == pytest.approx(value)
    closer = evaluation.memorization(drawn[:20], train["x"] / 255, real[:20] / 255).closer
    assert found["memorization"] == pytest.approx(closer, abs=0.01)
    rows = {row.name: row for row in evaluation.described(found)}
    assert rows["fmd"].meaning == "n = 30, features 0123456789ab of test accuracy 90.0%"
    assert rows["fmd"].better == "lower"


def test_image_quality_takes_a_decoder_too():
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(4)),
        vifx.factor("x | z", lambda z: Normal(jnp.clip(z, 0, 1).reshape(-1, 2, 2, 1), 1.0).to_event(3)),
    )
    sample = evaluation.DecodedImages(generative, evaluation.unscaled(0.0, 1.0)).sample
    measure = evaluation.measure_image_quality(sample, TEST, lambda: evaluation.Features(pixels, "0", 1.0))
    found = measure(jax.random.key(0), {}, {})
    images = sample(jax.random.key(0), {}, {}, 40, 1.0)
    assert found["fmd"] == pytest.approx(evaluation.frechet_distance(np.floor(255 * images + 0.5), TEST["x"]))
    assert "memorization" not in found
