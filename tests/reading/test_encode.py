"""Questions as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vifx.reading import Passage, Question, Vocabulary, encode, features, read_questions, tokenize

HERE = Path(__file__).parent
LONG = Question(
    "q",
    "Which one is it?",
    (Passage("a b c d e f g h i j k", ((8, 13), (20, 21))), Passage("x")),
    ("e f g", "k"),
)
WORDS = Vocabulary(list("abcdefghijk?"))


def test_ids_features_and_answers() -> None:
    questions = read_questions(HERE / "webqa.json")
    names = [name for q in questions for t in (q.text, *(p.text for p in q.passages)) for name in tokenize(t).names]
    vocabulary = Vocabulary(dict.fromkeys(names))
    encoded = encode(questions, vocabulary, passage_length=24, question_length=11, overlap=4)
    assert encoded.arrays["passage"].shape == (6, 24)
    assert encoded.question.tolist() == [0, 0, 0, 1, 1, 2]
    assert encoded.passage.tolist() == [0, 1, 2, 0, 1, 0]
    for row in range(6):
        question = questions[encoded.question[row]]
        passage = question.passages[encoded.passage[row]]
        tokens = tokenize(passage.text)
        np.testing.assert_array_equal(encoded.arrays["passage"][row, : len(tokens)], vocabulary.ids(tokens.names))
        assert not encoded.arrays["passage"][row, len(tokens) :].any()
        others = [tokenize(p.text) for p in question.passages]
        expected = features(tokenize(question.text), others)[encoded.passage[row]]
        np.testing.assert_array_equal(encoded.arrays["features"][row, : len(tokens)], expected)
        starts, ends = (np.flatnonzero(encoded.arrays["answer"][row, :, i]) for i in range(2))
        found = [encoded.text(row, int(first), int(last)) for first, last in zip(starts, ends, strict=True)]
        assert found == [passage.text[a:b] for a, b in passage.spans]
    assert encoded.notes[0] == "3 of 6 passages have no answer and are negatives"


def test_long_passages_are_read_in_windows() -> None:
    encoded = encode([LONG], WORDS, passage_length=5, question_length=5, overlap=2)
    ids = encoded.arrays["passage"]
    assert encoded.first.tolist() == [0, 3, 6, 0]
    assert ids.tolist() == [[2, 3, 4, 5, 6], [5, 6, 7, 8, 9], [8, 9, 10, 11, 12], [1, 0, 0, 0, 0]]
    # "e f g" is whole in the second window alone, and "k" in the third.
    starts, ends = encoded.arrays["answer"][:, :, 0], encoded.arrays["answer"][:, :, 1]
    assert np.argwhere(starts).tolist() == [[1, 1], [2, 4]]
    assert np.argwhere(ends).tolist() == [[1, 3], [2, 4]]
    assert encoded.text(1, 1, 3) == "e f g"
    assert encoded.notes[:2] == (
        "1 of 2 passages have no answer and are negatives",
        "1 long passages are read in windows that overlap by 2 tokens",
    )


def test_an_answer_in_no_window_is_counted() -> None:
    encoded = encode([LONG], WORDS, passage_length=4, question_length=5, overlap=1)
    cut = Question("r", "Which?", (Passage("a b c d e f", ((4, 9),)),), ("c d e",))
    assert not any("answers are longer" in note for note in encoded.notes)
    notes = encode([cut], WORDS, passage_length=4, question_length=5, overlap=1).notes
    assert "1 answers are longer than the overlap and in no window as a whole; raise it" in notes


def test_characters() -> None:
    encoded = encode([LONG], WORDS, passage_length=12, question_length=13, overlap=0, unit="characters")
    assert (encoded.arrays["question"] > 0).sum(1).tolist() == [13, 13]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question_length": 4}, r"question_length must be at least 5, the tokens of 'Which one is it\?', got 4"),
        ({"overlap": 5}, "overlap must be below passage_length, 5, got 5"),
        ({"passage_length": 0}, "passage_length must be an integer ≥ 1, got 0"),
    ],
)
def test_lengths_are_checked(arguments: dict[str, int], message: str) -> None:
    given = {"passage_length": 5, "question_length": 5, "overlap": 2} | arguments
    with pytest.raises(ValueError, match=message):
        encode([LONG], WORDS, **given)  # pyright: ignore[reportArgumentType]


def test_empty_texts_are_refused_by_name() -> None:
    lengths: Any = {"passage_length": 5, "question_length": 5, "overlap": 0}
    with pytest.raises(ValueError, match="questions must have at least one question"):
        encode([], WORDS, **lengths)
    with pytest.raises(ValueError, match="question 'q': text must have a token, got ' '"):
        encode([Question("q", " ", (Passage("a"),))], WORDS, **lengths)
    with pytest.raises(ValueError, match=r"question 'q': passages\[1\] must have a token, got ''"):
        encode([Question("q", "a", (Passage("a"), Passage("")))], WORDS, **lengths)
    with pytest.raises(ValueError, match="question 'q' must have passages"):
        Question("q", "a", ())
    with pytest.raises(ValueError, match=r"spans must be inside of the text, 0 ≤ start < end ≤ 1, got \(0, 2\)"):
        Passage("a", ((0, 2),))
