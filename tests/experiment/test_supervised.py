"""What experiments with a classifier measure, against predictions by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import vifx
from vifx import data, evaluation
from vifx.distributions import Categorical
from vifx.evaluation import Predictions
from vifx.experiment import supervised

generator = np.random.default_rng(0)
KERNEL = generator.normal(size=(4, 3)).astype(np.float32) * 2
SPLITS = {
    name: {"x": generator.normal(size=(size, 4)).astype(np.float32), "y": generator.integers(0, 3, size)}
    for name, size in (("validation", 60), ("test", 80))
}
EMPTY = {name: array[:0] for name, array in SPLITS["validation"].items()}
GENERATIVE = vifx.Joint(vifx.evidence("x"), vifx.factor("y | x", lambda x: Categorical(x @ jnp.asarray(KERNEL))))


def by_hand(split):
    return Predictions(log_softmax(split["x"].astype(np.float64) @ KERNEL, axis=1), split["y"])


def test_a_test_split_is_measured_as_by_hand():
    measured = supervised.measure(
        GENERATIVE, SPLITS["test"], validation=SPLITS["validation"], noise=(0.5, 2.0), bins=5, binning="equal_width"
    )(jax.random.key(0), {}, {})
    plain = by_hand(SPLITS["test"])
    assert measured["accuracy"].mean == plain.accuracy.mean
    assert measured["nll/y"].mean == pytest.approx(plain.nll.mean, rel=1e-5)
    assert measured["brier"].mean == pytest.approx(plain.brier.mean, rel=1e-5)
    calibrated = evaluation.calibration(plain, bins=5, binning="equal_width")
    assert measured["calibration_error"] == pytest.approx(calibrated.error, rel=1e-4)
    assert (
        measured["calibration_error"].note == f"5 bins of equal width; {calibrated.chance:.4f} by chance if calibrated"
    )
    temperature = evaluation.calibrating_temperature(by_hand(SPLITS["validation"]))
    assert measured["temperature"] == pytest.approx(temperature, rel=1e-3)
    assert measured["nll/y/tempered"].mean == pytest.approx(plain.tempered(temperature).nll.mean, rel=1e-3)
    noised = evaluation.predict(jax.random.key(0), GENERATIVE, {}, {}, SPLITS["test"], noise=0.5)
    assert measured["nll/y/noise_0.5"].mean == pytest.approx(noised.nll.mean, rel=1e-6)
    assert measured["accuracy/noise_2"].mean < plain.accuracy.mean or measured["nll/y/noise_2"].mean > plain.nll.mean
    without = supervised.measure(GENERATIVE, SPLITS["test"], validation=EMPTY)(jax.random.key(0), {}, {})
    assert set(without) == {"accuracy", "nll/y", "brier", "calibration_error"}


def test_a_validation_split_is_monitored_without_penalties():
    found = supervised.monitor(GENERATIVE, SPLITS["validation"])(jax.random.key(0), {}, {})
    plain = by_hand(SPLITS["validation"])
    assert found["loss"].mean == pytest.approx(plain.nll.mean, rel=1e-5)
    assert found["accuracy"].mean == plain.accuracy.mean
    assert found["calibration_error"] == pytest.approx(evaluation.calibration(plain).error, rel=1e-4)
    assert supervised.monitor(GENERATIVE, EMPTY)(jax.random.key(0), {}, {}) == {}


def test_a_subset_is_chosen_by_the_seed_and_nested():
    split = {"x": np.arange(50), "y": np.arange(50) % 3}
    few, more, other = (supervised.subset(split, *which) for which in ((10, 0), (20, 0), (10, 1)))
    assert list(few["x"]) == sorted(set(few["x"]) & set(more["x"]))
    assert len(set(few["x"])) == 10
    assert set(few["x"]) != set(other["x"])
    np.testing.assert_array_equal(few["y"], few["x"] % 3)
    assert supervised.subset(split, None, 0) is split
    assert supervised.subset(split, 50, 4) is supervised.subset(split, 51, 4) is split


def test_a_split_is_shown_as_its_source_transforms_it():
    split = {"x": generator.integers(0, 256, (1500, 2, 2, 1), dtype=np.uint8), "y": np.arange(1500) % 3}
    found = supervised.shown(split, data.normalize(low=0.0))
    np.testing.assert_allclose(found["x"], split["x"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(found["y"], split["y"])
    assert len(supervised.shown({name: array[:0] for name, array in split.items()}, data.normalize())["x"]) == 0


def test_the_figures_hold_what_is_measured():
    draw = supervised.draw_reliability(GENERATIVE, SPLITS["test"], validation=SPLITS["validation"], bins=4)
    upper, _ = draw(jax.random.key(0), {}, {}).axes
    expected = evaluation.calibration(by_hand(SPLITS["test"]), bins=4)
    np.testing.assert_allclose(
        upper.lines[1].get_xydata().T, [expected.confidence, expected.accuracy], rtol=1e-4, atol=1e-6
    )
    assert len(upper.get_legend().get_texts()) == 2
    left, _ = supervised.draw_noise(GENERATIVE, SPLITS["test"], noise=(0.5,))(jax.random.key(0), {}, {}).axes
    assert left.lines[0].get_ydata()[0] == by_hand(SPLITS["test"]).accuracy.mean
    images = generator.integers(0, 256, (8, 2, 2, 1), dtype=np.uint8)
    source = data.Resident({"x": images}, 4, 0, data.normalize(low=0.0))
    drawn = supervised.draw_evidence(source, n=3)(jax.random.key(0), {}, {}).axes[0].images
    batch = source.take(jax.random.key(1), source.arrays, source.window(0, 1), 0)
    np.testing.assert_array_equal([np.asarray(a.get_array()) for a in drawn], np.asarray(batch["x"])[:3, ..., 0])
