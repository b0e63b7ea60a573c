"""Exact match, F1 and their mean."""

from __future__ import annotations

import pytest

from vifx.reading import Passage, Question, exact_match, f1, measured


@pytest.mark.parametrize(
    ("answer", "answers", "exact", "overlap"),
    [
        ("the Nile", ["Nile"], 1.0, 1.0),
        ("Nile!", ["Rhine", "nile"], 1.0, 1.0),
        ("the river Nile", ["Nile"], 0.0, 2 / 3),
        ("Nile Nile", ["Nile"], 0.0, 2 / 3),
        ("Rhine", ["Nile"], 0.0, 0.0),
        ("in 1905 and 1906", ["1905 or 1906", "1905"], 0.0, 2 * 2 / 7),
        (None, ["Nile"], 0.0, 0.0),
        (None, [], 1.0, 1.0),
        ("Nile", [], 0.0, 0.0),
    ],
)
def test_words(answer: str | None, answers: list[str], exact: float, overlap: float) -> None:
    assert exact_match(answer, answers) == exact
    assert f1(answer, answers) == pytest.approx(overlap, rel=1e-12)


def test_characters() -> None:
    assert f1("广州市", ["广州"], unit="characters") == pytest.approx(0.8, rel=1e-12)
    assert f1("a b", ["the a b"], unit="characters") == pytest.approx(2 * 2 / 7, rel=1e-12)  # no articles in characters


def test_means_over_questions() -> None:
    questions = [Question(str(i), "?", (Passage("a"),), answers) for i, answers in enumerate([("x y",), ("z",), ()])]
    found = measured({"0": "x", "1": "z"}, questions)
    assert found["exact_match"].values.tolist() == [0, 1, 1]
    assert found["f1"].mean == pytest.approx((2 / 3 + 2) / 3, rel=1e-12)
    assert found["score"].mean == pytest.approx((1 / 3 + 2) / 3, rel=1e-12)
    with pytest.raises(ValueError, match="at least one question"):
        measured({}, [])
