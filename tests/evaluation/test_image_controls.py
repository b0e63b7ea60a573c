"""Controls: drawn from the distribution that they name, scored once, and kept for features and data alone."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vifx import evaluation
from vifx.evaluation import image_controls as module
from vifx.evaluation.image_controls import image_controls

generator = np.random.default_rng(0)
TRAIN = {"x": (128 + 20 * generator.normal(size=(500, 3)) @ [[1, 0.8, 0], [0, 0.6, 0], [0, 0, 0]]).astype(np.uint8)}
TRAIN["x"] = TRAIN["x"].reshape(-1, 1, 3, 1)
REAL = TRAIN["x"][:400] // 2


def test_the_controls_have_the_moments_that_they_name():
    drawn = {}
    image_controls(lambda images: drawn.setdefault(len(drawn), images) is None or {}, REAL, TRAIN)
    train, gaussian, noise = (drawn[i].reshape(400, 3).astype(float) for i in range(3))
    np.testing.assert_array_equal(train, TRAIN["x"][:400].reshape(400, 3))
    of_train = TRAIN["x"].reshape(-1, 3).astype(float)
    error = np.abs(gaussian.mean(0) - of_train.mean(0))
    np.testing.assert_array_less(error, 4.3 * of_train.std(0).max() / np.sqrt(400))
    expected = np.cov(of_train, rowvar=False)
    error = np.abs(np.cov(gaussian, rowvar=False) - expected)
    np.testing.assert_array_less(error, 4.3 * expected.max() * np.sqrt(2 / 400))
    assert gaussian[:, 2].std() == 0  # a constant pixel stays constant
    assert noise.mean() == pytest.approx(127.5, rel=0.08)
    assert noise.std() == pytest.approx(256 / np.sqrt(12), rel=0.05)


@pytest.mark.thorough
def test_they_are_kept_for_one_identity_and_one_set_of_data(tmp_path):
    calls = []

    def score(images):
        calls.append(1)
        return {"mean": float(images.mean())}

    first = image_controls(score, REAL, TRAIN, folder=tmp_path, identity="a")
    assert len(calls) == 3
    assert image_controls(score, REAL, TRAIN, folder=tmp_path, identity="a") == first
    assert len(calls) == 3
    image_controls(score, REAL, TRAIN, folder=tmp_path, identity="b")
    image_controls(score, REAL[:300], TRAIN, folder=tmp_path, identity="a")
    image_controls(score, REAL, {"x": TRAIN["x"] + np.uint8(1)}, folder=tmp_path, identity="a")
    assert len(calls) == 12
    for path in tmp_path.iterdir():
        path.write_text("{")
    with pytest.raises(ValueError, match=r"cannot read the scores of controls.*delete it to measure them again"):
        image_controls(score, REAL, TRAIN, folder=tmp_path, identity="a")


@pytest.mark.thorough
def test_a_short_training_split_is_no_control():
    few = {"x": TRAIN["x"][:100]}
    assert set(image_controls(lambda images: {}, REAL, few)) == {"pixel_gaussian", "uniform_noise"}


def test_the_scores_are_ordered_and_the_controls_stand_beside_them():
    """Data beats the Gaussian of the pixels, and that noise; and uniform noise must fail."""
    shapes = np.random.default_rng(1)
    images = lambda n: (255 * (shapes.random((n, 1, 1, 1)) > 0.5) * np.ones((1, 3, 3, 1))).astype(np.uint8)  # noqa: E731
    noised = lambda n: np.clip(images(n) + shapes.normal(size=(n, 3, 3, 1)) * 9, 0, 255).astype(np.uint8)  # noqa: E731
    features = evaluation.Features(lambda x: x.reshape(len(x), -1) / 255.0, "mine", origin="the pixels")
    measure = evaluation.measure_image_quality(
        lambda key, params, state, n, temperature: noised(n),
        {"x": noised(300)},
        lambda: features,
        train={"x": noised(900)},
    )
    found = measure(jax.random.key(0), {}, {})
    for name, better in (("fmd", -1), ("kid", -1), ("coverage", 1)):
        own, train, noise = (better * found[name + of] for of in ("", "/train_images", "/uniform_noise"))
        assert min(own, train) > noise
    assert found["coverage/train_images"] > found["coverage/pixel_gaussian"] > found["coverage/uniform_noise"]
    assert found["kid/train_images"] < 0.1 * found["kid/uniform_noise"]
    assert found["memorization/train_images"] > 0.9
    names = list(found)
    assert names[:5] == ["fmd", "fmd/train_images", "fmd/pixel_gaussian", "fmd/uniform_noise", "fmd/relative"]
    rows = {row.name: row for row in evaluation.described(found)}
    assert rows["coverage/uniform_noise"].meaning == module.CONTROLS["uniform_noise"]
    assert rows["coverage/uniform_noise"].better == ""
    assert rows["fmd"].meaning == "n = 300, features mine of the pixels"
