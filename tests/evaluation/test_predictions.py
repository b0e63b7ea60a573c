"""Predictions of a classifier against NumPy, scikit-learn and a classifier that is solved on paper."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from sklearn.metrics import accuracy_score, log_loss

import vifx
from vifx import evaluation
from vifx.distributions import Bernoulli, Categorical, Normal
from vifx.evaluation import Predictions

EXAMPLES, CLASSES = 400, 5
generator = np.random.default_rng(0)
LOGITS = generator.normal(size=(EXAMPLES, CLASSES)) * 2
LABELS = generator.integers(0, CLASSES, EXAMPLES)
WEIGHTS = generator.integers(0, 4, EXAMPLES)
PREDICTIONS = Predictions(log_softmax(LOGITS, axis=1), LABELS)


def drawn(logits, seed=1):
    """Labels from the probabilities themselves: calibrated by construction."""
    steps = softmax(logits, axis=1).cumsum(axis=1)
    return (np.random.default_rng(seed).random(len(logits))[:, None] > steps[:, :-1]).sum(axis=1)


def test_accuracy_likelihood_and_brier_score_are_those_of_scikit_learn():
    probs = softmax(LOGITS, axis=1)
    assert PREDICTIONS.accuracy.mean == pytest.approx(accuracy_score(LABELS, LOGITS.argmax(1)), rel=1e-12)
    assert PREDICTIONS.nll.mean == pytest.approx(log_loss(LABELS, probs), rel=1e-12)
    each = np.sum((probs - np.eye(CLASSES)[LABELS]) ** 2, axis=1)
    np.testing.assert_allclose(PREDICTIONS.brier.values, each, rtol=1e-12)
    assert PREDICTIONS.brier.standard_error == pytest.approx(each.std(ddof=1) / np.sqrt(EXAMPLES), rel=1e-12)


def test_weights_are_rows_repeated_as_often():
    weighted = Predictions(PREDICTIONS.log_probs, np.where(WEIGHTS > 0, LABELS, -1), WEIGHTS)
    rows = np.repeat(np.arange(EXAMPLES), WEIGHTS)
    repeated = Predictions(PREDICTIONS.log_probs[rows], LABELS[rows])
    for name in ("accuracy", "nll", "brier"):
        assert getattr(weighted, name).mean == pytest.approx(getattr(repeated, name).mean, rel=1e-12)
    assert evaluation.calibrating_temperature(weighted) == pytest.approx(
        evaluation.calibrating_temperature(repeated), rel=1e-9
    )


def test_the_temperature_minimizes_the_likelihood():
    overconfident = Predictions(log_softmax(3 * LOGITS, axis=1), drawn(LOGITS))
    found = evaluation.calibrating_temperature(overconfident)
    best = minimize_scalar(lambda t: overconfident.tempered(float(t)).nll.mean, bounds=(0.1, 10), method="bounded")
    assert found == pytest.approx(best.x, rel=1e-4)
    assert found == pytest.approx(3, rel=0.1)
    assert overconfident.tempered(found).accuracy.mean == overconfident.accuracy.mean
    np.testing.assert_allclose(overconfident.tempered(3.0).log_probs, PREDICTIONS.log_probs, rtol=1e-9)
    perfect = Predictions(PREDICTIONS.log_probs, LOGITS.argmax(axis=1))
    assert evaluation.calibrating_temperature(perfect) == pytest.approx(0.01, rel=1e-9)


def joint(make):
    return vifx.Joint(vifx.evidence("x"), vifx.factor("y | x", make))


def linear(x):
    kernel = jnp.asarray(np.linspace(-1, 1, 3 * CLASSES).reshape(3, CLASSES), x.dtype)
    return Categorical(x @ kernel)


def test_a_split_is_predicted_by_the_factor_of_its_label(x64):
    split = {"x": generator.normal(size=(37, 3)), "y": np.arange(37) % CLASSES}
    found = evaluation.predict(jax.random.key(0), joint(linear), {}, {}, split, batch_size=10)
    expected = log_softmax(split["x"] @ np.linspace(-1, 1, 3 * CLASSES).reshape(3, CLASSES), axis=1)
    np.testing.assert_allclose(found.log_probs, expected, rtol=1e-12)
    weighted = {**split, "@weights": np.arange(37)}
    found = evaluation.predict(jax.random.key(0), joint(linear), {}, {}, weighted)
    assert found.nll.mean == pytest.approx(np.average(-expected[range(37), split["y"]], weights=np.arange(37)))
    binary = joint(lambda x: Bernoulli(logits=x[:, 0]))
    found = evaluation.predict(jax.random.key(0), binary, {}, {}, {"x": split["x"], "y": split["y"] % 2})
    np.testing.assert_allclose(found.probs[:, 1], 1 / (1 + np.exp(-split["x"][:, 0])), rtol=1e-9)


def test_noise_is_normal_with_the_given_scale_and_does_not_depend_on_the_batches():
    # A threshold at zero of x = 1 + σ·noise is right with probability Φ(1/σ).
    examples, scale = 20_000, 0.8
    threshold = joint(lambda x: Categorical(jnp.stack([-100 * x[:, 0], 100 * x[:, 0]], axis=1)))
    split = {"x": np.ones((examples, 1), np.float32), "y": np.ones(examples, np.int32)}
    found = [
        evaluation.predict(jax.random.key(3), threshold, {}, {}, split, noise=scale, batch_size=size)
        for size in (5000, 7000)
    ]
    right = norm.cdf(1 / scale)
    assert found[0].accuracy.mean == pytest.approx(right, abs=4.5 * np.sqrt(right * (1 - right) / examples))
    np.testing.assert_array_equal(found[0].correct, found[1].correct)
    clean = evaluation.predict(jax.random.key(3), threshold, {}, {}, split)
    assert clean.accuracy.mean == 1


def test_what_cannot_be_predicted_says_why():
    split = {"x": np.ones((4, 3), np.float32), "y": np.zeros(4, np.int32)}
    ask = lambda made, **options: evaluation.predict(jax.random.key(0), made, {}, {}, split, **options)  # noqa: E731
    with pytest.raises(ValueError, match=r"label must be a variable .* got 'z'"):
        ask(joint(linear), label="z")
    latent = vifx.Joint(vifx.factor("z", vifx.standard_normal(3)), vifx.factor("y | z", linear))
    with pytest.raises(ValueError, match="whose parents are evidence"):
        ask(latent)
    with pytest.raises(ValueError, match="must be over finitely many classes, got Normal"):
        ask(joint(lambda x: Normal(x[:, 0], jnp.ones(len(x)))))
    with pytest.raises(ValueError, match="noise must be a finite number ≥ 0, got -1"):
        ask(joint(linear), noise=-1.0)
    with pytest.raises(TypeError, match=r"noise needs floating-point 'x', got uint8; scale the values first"):
        evaluation.predict(
            jax.random.key(0), joint(linear), {}, {}, {"x": np.ones((4, 3), np.uint8), "y": split["y"]}, noise=0.1
        )
    with pytest.raises(TypeError, match="labels must be integers"):
        Predictions(PREDICTIONS.log_probs, np.eye(CLASSES)[LABELS])
    with pytest.raises(ValueError, match="labels must be classes from 0 to 4, got values from -1 to 4"):
        Predictions(PREDICTIONS.log_probs, np.where(np.arange(EXAMPLES) == 3, -1, LABELS))
    with pytest.raises(ValueError, match=r"log_probs must be \[examples, classes\] with labels"):
        Predictions(PREDICTIONS.log_probs[0], LABELS)
    with pytest.raises(ValueError, match="the classifier has diverged"):
        Predictions(np.full((EXAMPLES, CLASSES), np.nan), LABELS)
    with pytest.raises(ValueError, match="temperature must be a finite number > 0, got 0"):
        PREDICTIONS.tempered(0.0)
    impossible = Predictions(np.log([[1.0, 0.0]], where=[[True, False]], out=np.array([[0, -np.inf]])), np.array([0]))
    with pytest.raises(ValueError, match="every class must have a probability above zero"):
        evaluation.calibrating_temperature(impossible)
