"""What is measured and drawn of a classifier, and its calibration, against predictions by hand."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import vifx
from vifx import data, evaluation
from vifx.distributions import Categorical
from vifx.evaluation import Predictions

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
    measured = evaluation.measure_classifier(
        GENERATIVE, SPLITS["test"], validation=SPLITS["validation"], noise=(0.5, 2.0)
    )(jax.random.key(0), {}, {})
    plain = by_hand(SPLITS["test"])
    assert measured["accuracy"].mean == plain.accuracy.mean
    assert measured["nll/y"].mean == pytest.approx(plain.nll.mean, rel=1e-5)
    assert measured["brier"].mean == pytest.approx(plain.brier.mean, rel=1e-5)
    calibrated = evaluation.calibration(plain, bins=15)
    assert measured["calibration_error"] == pytest.approx(calibrated.error, rel=1e-4)
    assert (
        measured["calibration_error"].note == f"15 bins of equal mass; {calibrated.chance:.4f} by chance if calibrated"
    )
    temperature = evaluation.calibrating_temperature(by_hand(SPLITS["validation"]))
    assert measured["temperature"] == pytest.approx(temperature, rel=1e-3)
    assert measured["nll/y/tempered"].mean == pytest.approx(plain.tempered(temperature).nll.mean, rel=1e-3)
    noised = evaluation.predict(jax.random.key(0), GENERATIVE, {}, {}, SPLITS["test"], noise=0.5)
    assert measured["nll/y/noise_0.5"].mean == pytest.approx(noised.nll.mean, rel=1e-6)
    assert measured["accuracy/noise_2"].mean < plain.accuracy.mean or measured["nll/y/noise_2"].mean > plain.nll.mean
    without = evaluation.measure_classifier(GENERATIVE, SPLITS["test"], validation=EMPTY)(jax.random.key(0), {}, {})
    assert set(without) == {"accuracy", "nll/y", "brier", "calibration_error"}


def test_a_validation_split_is_monitored_without_penalties():
    found = evaluation.monitor_classifier(GENERATIVE, SPLITS["validation"])(jax.random.key(0), {}, {})
    plain = by_hand(SPLITS["validation"])
    assert found["loss"].mean == pytest.approx(plain.nll.mean, rel=1e-5)
    assert found["accuracy"].mean == plain.accuracy.mean
    assert found["calibration_error"] == pytest.approx(evaluation.calibration(plain).error, rel=1e-4)
    assert evaluation.monitor_classifier(GENERATIVE, EMPTY)(jax.random.key(0), {}, {}) == {}


def test_the_figures_hold_what_is_measured():
    draw = evaluation.draw_reliability(GENERATIVE, SPLITS["test"], validation=SPLITS["validation"])
    upper, _ = draw(jax.random.key(0), {}, {}).axes
    expected = evaluation.calibration(by_hand(SPLITS["test"]), bins=15)
    np.testing.assert_allclose(
        upper.lines[1].get_xydata().T, [expected.confidence, expected.accuracy], rtol=1e-4, atol=1e-6
    )
    assert len(upper.get_legend().get_texts()) == 2
    left, _ = evaluation.draw_noise(GENERATIVE, SPLITS["test"], noise=(0.5,))(jax.random.key(0), {}, {}).axes
    assert left.lines[0].get_ydata()[0] == by_hand(SPLITS["test"]).accuracy.mean
    images = generator.integers(0, 256, (8, 2, 2, 1), dtype=np.uint8)
    source = data.Resident({"x": images}, 4, 0, data.normalize(low=0.0))
    drawn = evaluation.draw_evidence(source)(jax.random.key(0), {}, {}).axes[0].images
    batch = source.take(jax.random.key(1), source.arrays, source.window(0, 1), 0)
    np.testing.assert_array_equal([np.asarray(a.get_array()) for a in drawn], np.asarray(batch["x"])[..., 0])


def test_the_curves_hold_means_and_intervals():
    generator = np.random.default_rng(0)
    found = {
        size: Predictions(np.log(generator.dirichlet(np.ones(4), 50)), generator.integers(0, 4, 50))
        for size in (0.2, 0.0, 0.1)
    }
    figure = evaluation.noise_curves(found, unit="pixels")
    left, right = figure.axes
    ordered = [found[size] for size in (0.0, 0.1, 0.2)]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [each.accuracy.mean for each in ordered])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [each.nll.mean for each in ordered])
    np.testing.assert_allclose(right.lines[1].get_ydata(), np.log(4), rtol=1e-12)
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(min(each.accuracy.interval[0] for each in ordered), rel=1e-12)
    assert left.get_xlabel() == "standard deviation of the noise, pixels"
    with pytest.raises(ValueError, match="at least two sizes of noise"):
        evaluation.noise_curves({0.0: found[0.0]})


def binary(confidence, correct):
    """Predictions of two classes, the first of which is the likelier."""
    log_probs = np.log(np.stack([confidence, 1 - confidence], axis=1))
    return Predictions(log_probs, np.where(correct, 0, 1))


def reference(predictions, edges):
    """The sum over the bins, in plain loops."""
    confidence, error = predictions.confidence, 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        if inside:
            gap = np.mean([predictions.correct[i] for i in inside]) - np.mean(confidence[inside])
            error += len(inside) / len(confidence) * abs(gap)
    return error


def classifier(examples=3000, sharpness=1.0, seed=0):
    """Labels from softmax(logits), predictions from softmax(sharpness · logits): calibrated where it is 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(examples, 4)) * 1.5
    steps = softmax(logits, axis=1).cumsum(axis=1)
    labels = (generator.random(examples)[:, None] > steps[:, :-1]).sum(axis=1)
    return Predictions(log_softmax(sharpness * logits, axis=1), labels)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_bins_of_equal_width_are_the_published_error(bins):
    found = evaluation.calibration(classifier(sharpness=2.0), bins=bins, binning="equal_width")
    assert found.error == pytest.approx(reference(classifier(sharpness=2.0), np.linspace(0, 1, bins + 1)), rel=1e-12)


def test_a_confidence_on_an_edge_is_below_it():
    found = evaluation.calibration(binary(np.array([0.5, 0.6]), np.array([True, False])), bins=4, binning="equal_width")
    np.testing.assert_allclose([found.confidence, found.accuracy], [[0.5, 0.6], [1, 0]], rtol=1e-12)


def test_bins_of_equal_mass_hold_as_many_examples_each():
    predictions = classifier(examples=3000, sharpness=2.0)
    found = evaluation.calibration(predictions, bins=15, binning="equal_mass")
    np.testing.assert_allclose(found.share, 1 / 15, rtol=1e-12)
    ordered = np.sort(predictions.confidence)
    np.testing.assert_allclose(found.confidence, ordered.reshape(15, 200).mean(axis=1), rtol=1e-12)
    assert found.error == pytest.approx(reference(predictions, [0.0, *ordered[199::200]]), rel=1e-12)
    assert found.largest == pytest.approx(np.abs(found.accuracy - found.confidence).max(), rel=1e-12)


def test_equal_confidences_stay_together():
    predictions = binary(np.repeat([0.6, 0.9, 0.7], 30), np.arange(90) % 2 == 0)
    found = evaluation.calibration(predictions, bins=15)
    assert found.error == pytest.approx((0.1 + 0.4 + 0.2) / 3, rel=1e-9)
    np.testing.assert_allclose(found.confidence, [0.6, 0.7, 0.9], rtol=1e-12)


def test_a_known_error_comes_out():
    # Right with probability 0.7 where it says 0.9, and 0.8 where it says 0.6: 0.5·0.2 + 0.5·0.2, whatever the bins.
    generator = np.random.default_rng(1)
    confidence = np.repeat([0.9, 0.6], 20_000)
    correct = generator.random(40_000) < np.repeat([0.7, 0.8], 20_000)
    for binning in ("equal_mass", "equal_width"):
        found = evaluation.calibration(binary(confidence, correct), bins=10, binning=binning)
        assert found.error == pytest.approx(0.2, abs=4.5 * np.sqrt(0.25 / 40_000))


def test_a_calibrated_classifier_has_the_error_of_chance():
    found = [evaluation.calibration(classifier(seed=seed), bins=15) for seed in range(60)]
    errors = np.array([each.error for each in found])
    chance = np.mean([each.chance for each in found])
    assert abs(errors.mean() - chance) < 4.5 * errors.std(ddof=1) / np.sqrt(len(errors)) + 0.02 * chance
    sharp = evaluation.calibration(classifier(sharpness=2.0), bins=15)
    assert sharp.error > 5 * sharp.chance


def test_weights_are_rows_repeated_as_often():
    predictions = classifier(examples=300, sharpness=2.0)
    weights = np.random.default_rng(2).integers(0, 3, 300)
    rows = np.repeat(np.arange(300), weights)
    weighted = Predictions(predictions.log_probs, predictions.labels, weights)
    repeated = Predictions(predictions.log_probs[rows], predictions.labels[rows])
    for binning in ("equal_mass", "equal_width"):
        pair = [evaluation.calibration(each, bins=5, binning=binning) for each in (weighted, repeated)]
        for name in ("confidence", "accuracy", "share"):
            np.testing.assert_allclose(getattr(pair[0], name), getattr(pair[1], name), rtol=1e-12)


def test_the_diagram_has_the_bins_and_says_the_error():
    found = {
        "as trained": evaluation.calibration(classifier(sharpness=2.0), bins=8),
        "tempered": evaluation.calibration(classifier(sharpness=2.0).tempered(2.0), bins=8),
    }
    upper, lower = evaluation.reliability_diagram(found).axes
    for index, each in enumerate(found.values()):
        np.testing.assert_array_equal(upper.lines[1 + 3 * index].get_xydata().T, [each.confidence, each.accuracy])
        gap = each.accuracy - each.confidence
        np.testing.assert_array_equal(lower.lines[1 + 3 * index].get_xydata().T, [each.confidence, gap])
    words = [text.get_text() for text in upper.get_legend().get_texts()]
    assert words[0] == (
        f"as trained: calibration error {found['as trained'].error:.3f}, {found['as trained'].chance:.3f} by chance"
    )
    with pytest.raises(ValueError, match="at least one, got none"):
        evaluation.reliability_diagram({})


def test_wrong_bins_are_refused():
    with pytest.raises(ValueError, match="bins must be an integer ≥ 1, got 0"):
        evaluation.calibration(classifier(), bins=0)
    with pytest.raises(ValueError, match="binning must be 'equal_mass' or 'equal_width', got 'quantile'"):
        evaluation.calibration(classifier(), binning="quantile")
