"""The casino's dice and states, against the tables that they come from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, em, evaluation
from vifx.evaluation import casino_dice


@pytest.mark.thorough
def test_the_true_casino_is_called_right():
    """Bad orders and wrong tables show: here the states are the other way round."""
    rolls = data.load(data.Config("casino")).test
    few = {name: array[:20] for name, array in rolls.items()}
    model = em.hmm(lambda states: em.categorical(6, states=states), 2, length=300)
    truth = data.CASINO
    tables = [np.maximum(table, 1e-30) for table in (truth.initial[::-1], truth.transitions[::-1, ::-1])]
    initial, transitions = (jnp.log(jnp.asarray(table, jnp.float32)) for table in tables)
    faces = jnp.log(jnp.asarray(truth.faces[::-1], jnp.float32))
    params = {"chain": {"initial": initial, "transitions": transitions}, "emissions": {"logits": faces}}
    found = casino_dice.measure_dice(model, few)(jax.random.key(0), params, {})
    assert found["faces_error"] == pytest.approx(0, abs=1e-6)
    assert found["transitions_error"] == pytest.approx(0, abs=1e-6)
    assert 0.75 < found["state_accuracy"].mean < 0.9
    expected = float(np.mean(np.asarray(model.log_prob(params, {}, few["x"]))))
    assert found["log_prob/test/true"].mean == pytest.approx(expected, rel=1e-5)


def test_state_timeline_draws_the_probability_over_the_truth():
    probability = np.random.default_rng(0).uniform(size=(2, 5))
    truth = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 0]], bool)
    figure = evaluation.state_timeline(probability, truth)
    for axes, own, held in zip(figure.axes, probability, truth, strict=True):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), own)
        assert len(axes.collections[0].get_paths()) == np.sum(np.diff(np.r_[0, held]) == 1)


def test_probability_bars_have_the_probabilities():
    figure = evaluation.probability_bars({"learned": [0.2, 0.8], "true": [0.3, 0.7]}, ["a", "b"])
    heights = [bar.get_height() for bars in figure.axes[0].containers for bar in bars]
    assert heights == [0.2, 0.8, 0.3, 0.7]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.state_timeline(np.zeros((2, 3)), np.zeros((2, 4))), "one shape"),
        (lambda: evaluation.probability_bars({"a": [0.5]}, ["x", "y"]), "2 probabilities"),
    ],
)
def test_bad_figures_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
