"""Models of strings beside the grammar: what knows it measures 0, what guesses the closed form, and the figures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.text import Text

import vifx
from vifx import data, dynamics
from vifx.data import REBER
from vifx.distributions import Categorical
from vifx.dynamics import Transition
from vifx.evaluation import grammar_strings

SPLIT = {name: values[:200] for name, values in data.load(data.Config("reber")).test.items()}
STATES = len(REBER.symbols) + 1
FOLLOWING = np.full((STATES, 7), STATES - 1)
LOGITS = np.full((STATES, 7), -np.inf)
for state, (symbols, following) in enumerate(zip(REBER.symbols, REBER.following, strict=True)):
    FOLLOWING[state, symbols], LOGITS[state, symbols] = following, 0.0
LOGITS[-1] = 0.0


def moved(params, state, memory, inputs):
    memory = jnp.asarray(FOLLOWING)[memory, inputs[0]]
    return memory, memory


def joint(logits):
    """A chain whose memory is the state of the grammar, with the logits of each."""
    knows = Transition(
        lambda key, *_: ({}, {}),
        lambda params, state, memory, key, train: Categorical(jnp.asarray(logits, jnp.float32)[memory]),
        begin=lambda params, state, inputs: jnp.zeros(len(inputs[0]), int),
        advance=moved,
    )
    first = Categorical(jnp.asarray(logits[0], jnp.float32))
    law = dynamics.chain(first, knows, REBER.length, parents=("lengths",))
    return vifx.Joint(vifx.evidence("lengths"), vifx.factor("x | lengths", law, name="chain"))


PARAMS = {"chain": {"start": {}, "transition": {}}}


def test_the_grammar_itself_has_no_divergence_and_remembers():
    measure = grammar_strings.measure_strings(joint(LOGITS), REBER, SPLIT, draws=50)
    found = measure(jax.random.key(0), PARAMS, PARAMS)
    np.testing.assert_allclose(found["kl/true"].values, 0, atol=1e-5)
    np.testing.assert_allclose(found["nll/x"].mean, -REBER.step_log_probs(SPLIT["x"]).sum(1).mean(), rtol=1e-5)
    assert float(found["recall"]) == pytest.approx(1)
    assert float(found["grammatical"]) == 1


def test_a_guess_of_all_symbols_has_its_closed_form():
    measure = grammar_strings.measure_strings(joint(np.zeros_like(LOGITS)), REBER, SPLIT, draws=50)
    found = measure(jax.random.key(0), PARAMS, PARAMS)
    nll = SPLIT["lengths"] * np.log(7)
    np.testing.assert_allclose(found["nll/x"].values, nll, rtol=1e-5)
    truth = REBER.step_log_probs(SPLIT["x"]).sum(axis=1)
    np.testing.assert_allclose(found["kl/true"].mean, (truth + nll).mean(), rtol=1e-5)
    assert float(found["recall"]) == pytest.approx(1 / 7)
    assert float(found["grammatical"]) == 0


def test_figures_show_the_steps_and_the_strings():
    drawn = grammar_strings.draw_nll_by_step(joint(LOGITS), REBER, SPLIT)(jax.random.key(0), PARAMS, PARAMS)
    optimal, model, remembered, _ = drawn.axes[0].lines
    np.testing.assert_allclose(model.get_ydata(), optimal.get_ydata(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(optimal.get_ydata()[:4], np.log(2) * np.array([0, 1, 0, 1]), rtol=1e-6)
    np.testing.assert_allclose(remembered.get_ydata(), 0, atol=1e-5)
    strings = grammar_strings.draw_strings(joint(np.zeros_like(LOGITS)), REBER, n=4)(jax.random.key(0), PARAMS, PARAMS)
    assert sum("✗" in text.get_text() for text in strings.findobj(Text)) == 4
    with pytest.raises(ValueError, match="must have one shape"):
        grammar_strings.nll_by_step(np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 3), bool), np.ones((2, 4), bool))
