"""The embedded Reber grammar against its regular expression, its own draws, and its entropy in closed form."""

from __future__ import annotations

import re

import numpy as np

from vifx import data
from vifx.data import REBER

INNER = "B(?:(?:TS*X|PT*VP)(?:XT*VP)*(?:S|XT*VV)|PT*VV)E"
GRAMMAR = re.compile(f"B([TP]){INNER}\\1E")
SPLITS = data.load(data.Config("reber", validation=0.1))
DRAWN = SPLITS.train


def texts(x, lengths):
    return ["".join(REBER.letters[symbol] for symbol in row[:length]) for row, length in zip(x, lengths, strict=True)]


def test_strings_are_those_of_the_regular_expression():
    whole = DRAWN["lengths"] < REBER.length
    assert all(GRAMMAR.fullmatch(text) for text in texts(DRAWN["x"][whole], DRAWN["lengths"][whole]))
    states = REBER.states(DRAWN["x"])
    assert (states[whole, -1] == REBER.end).all()
    first = np.argmax(states == REBER.end, axis=1)
    np.testing.assert_array_equal(first[whole], DRAWN["lengths"][whole])
    # The beginnings of some with the ends of others: the two agree on which of them are strings still.
    generator = np.random.default_rng(1)
    cut = generator.integers(3, 9, (len(DRAWN["x"]), 1))
    x = np.where(np.arange(REBER.length) < cut, DRAWN["x"], DRAWN["x"][generator.permutation(len(DRAWN["x"]))])
    found = REBER.states(x)[:, -1] == REBER.end
    expected = [bool(GRAMMAR.match(text)) for text in texts(x, np.full(len(x), REBER.length))]
    assert found.tolist() == expected
    assert 0.1 < found.mean() < 0.9
    assert np.isneginf(REBER.step_log_probs(x)[REBER.states(x)[:, 1:] < 0]).all()


def test_probabilities_are_those_of_the_draws():
    each = REBER.step_log_probs(DRAWN["x"]).sum(axis=1)
    strings, counts = np.unique(DRAWN["x"], axis=0, return_counts=True)
    probs = np.exp(REBER.step_log_probs(strings).sum(axis=1))
    size = len(DRAWN["x"])
    assert (np.abs(counts / size - probs) < 4.5 * np.sqrt(probs / size) + 2 / size).all()
    # The number of choices of two: one for the letter; of the inner string from the equations of its five states.
    # c1 = 1 + (c2 + c3)/2, c2 = 1 + (c2 + c4)/2, c3 = 1 + (c3 + c5)/2, c4 = 1 + c3/2, c5 = 1 + c4/2
    equations = np.eye(5)
    for state, others in enumerate([(1, 2), (1, 3), (2, 4), (2,), (3,)]):
        equations[state, list(others)] -= 0.5
    entropy = (1 + np.linalg.solve(equations, np.ones(5))[0]) * np.log(2)
    assert abs(-each.mean() - entropy) < 4.5 * each.std() / np.sqrt(size)


def test_the_letter_to_remember_is_the_second():
    states = REBER.states(DRAWN["x"])[:, :-1]
    rows, places = np.nonzero(np.isin(states, REBER.recalling))
    assert len(rows) > 0.99 * len(states)
    np.testing.assert_array_equal(DRAWN["x"][rows, places], DRAWN["x"][rows, 1])
    whole = DRAWN["lengths"][rows] < REBER.length
    np.testing.assert_array_equal(places[whole], DRAWN["lengths"][rows][whole] - 2)


def test_it_is_loaded_by_name():
    shapes = [split["x"].shape for split in (SPLITS.train, SPLITS.validation, SPLITS.test)]
    assert shapes == [(4500, 32), (500, 32), (1000, 32)]
    again = data.load(data.Config("reber", validation=0.1))
    np.testing.assert_array_equal(SPLITS.test["x"], again.test["x"])
    assert SPLITS.test["lengths"].max() <= 32
