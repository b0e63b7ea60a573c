"""Questions and passages as arrays, one row for each window of each passage."""

from __future__ import annotations

__all__ = ["Encoded", "encode"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vifx.checks import ArgumentError, require_integer
from vifx.data import Split
from vifx.reading.questions import Question
from vifx.reading.token_features import FEATURES, features
from vifx.reading.tokens import Tokens, Unit, tokenize
from vifx.reading.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Encoded:
    """Questions as arrays, and the way back from rows to texts.

    Attributes:
      arrays: ``question`` int32 ``[rows, question length]`` and ``passage`` int32 ``[rows, passage length]``, ids of
        tokens with 0 as padding; ``features`` float32 ``[rows, passage length, 8]``; ``answer`` float32
        ``[rows, passage length, 2]``, 1 at the first token of each answer in channel 0 and at its last in channel 1.
      questions: the questions that were encoded.
      question: for each row, the index of its question.
      passage: for each row, the index of the passage of the question.
      first: for each row, the token of the passage at which it begins.
      passages: for each question, the tokens of its passages.
      notes: decisions that were made, as sentences.
    """

    arrays: Split
    questions: tuple[Question, ...]
    question: NDArray[np.int32]
    passage: NDArray[np.int32]
    first: NDArray[np.int32]
    passages: tuple[tuple[Tokens, ...], ...]
    notes: tuple[str, ...]

    def text(self, row: int, first: int, last: int) -> str:
        """Return the text of tokens `first` to `last` (included) of a row, as it is written."""
        start = int(self.first[row])
        tokens = self.passages[self.question[row]][self.passage[row]]
        return tokens.span(start + first, start + last)


def encode(
    questions: Sequence[Question],
    vocabulary: Vocabulary,
    *,
    passage_length: int,
    question_length: int,
    overlap: int,
    unit: Unit = "words",
) -> Encoded:
    """Encode questions; passages longer than `passage_length` are read in windows.

    Windows begin every ``passage_length − overlap`` tokens, so that an answer of at most ``overlap + 1`` tokens is
    whole in one of them. An answer is marked in the windows that have the whole of it. Passages without an answer are
    kept: they are the negatives, and counted in `notes`.

    Args:
      questions: the questions to encode, at least one.
      vocabulary: gives the ids.
      passage_length: tokens of a row of ``passage``.
      question_length: tokens of a row of ``question``; no question may be longer.
      overlap: how many tokens a window shares with the next.
      unit: what a token is.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if there is no question, a question or a passage has no token, a question is too long, or the overlap
        is not below the length of a passage.
    """
    require_integer(passage_length, "passage_length")
    require_integer(question_length, "question_length")
    if not require_integer(overlap, "overlap", least=0) < passage_length:
        sentence = f"must be below passage_length, {passage_length}, got {overlap}; windows would not advance"
        raise ArgumentError("overlap", sentence, value=overlap)
    if not questions:
        raise ValueError("questions must have at least one question, got none")
    rows = [row for i, each in enumerate(questions) for row in _rows(i, each, passage_length, overlap, unit)]
    size = len(rows)
    arrays: Split = {
        "question": np.zeros((size, question_length), np.int32),
        "passage": np.zeros((size, passage_length), np.int32),
        "features": np.zeros((size, passage_length, len(FEATURES)), np.float32),
        "answer": np.zeros((size, passage_length, 2), np.float32),
    }
    for i, row in enumerate(rows):
        if len(row.asked) > question_length:
            text = questions[row.question].text
            sentence = f"must be at least {len(row.asked)}, the tokens of {text!r}, got {question_length}; raise it"
            raise ArgumentError("question_length", sentence, value=question_length)
        names = row.tokens.names[row.first : row.first + passage_length]
        arrays["question"][i, : len(row.asked)] = vocabulary.ids(row.asked.names)
        arrays["passage"][i, : len(names)] = vocabulary.ids(names)
        arrays["features"][i, : len(names)] = row.features
        for first, last in row.spans:
            arrays["answer"][i, first, 0] = arrays["answer"][i, last, 1] = 1
    by_question: list[dict[int, Tokens]] = [{} for _ in questions]
    for row in rows:
        by_question[row.question][row.passage] = row.tokens
    return Encoded(
        arrays,
        tuple(questions),
        np.array([row.question for row in rows], np.int32),
        np.array([row.passage for row in rows], np.int32),
        np.array([row.first for row in rows], np.int32),
        tuple(tuple(passages.values()) for passages in by_question),
        tuple(_notes(questions, rows, arrays, overlap)),
    )


@dataclass(frozen=True, eq=False)
class _Row:
    question: int
    passage: int
    first: int
    asked: Tokens
    tokens: Tokens
    features: NDArray[np.float32]
    spans: list[tuple[int, int]]


def _rows(index: int, question: Question, length: int, overlap: int, unit: Unit) -> Iterator[_Row]:
    asked = tokenize(question.text, unit=unit)
    passages = [tokenize(passage.text, unit=unit) for passage in question.passages]
    for what, tokens in (("text", asked), *((f"passages[{i}]", each) for i, each in enumerate(passages))):
        if not len(tokens):
            raise ValueError(f"question {question.id!r}: {what} must have a token, got {tokens.text!r}; leave it out")
    for i, (tokens, values) in enumerate(zip(passages, features(asked, passages), strict=True)):
        spans = [span for start, end in question.passages[i].spans if (span := tokens.covering(start, end))]
        first = 0
        while True:
            end = first + length
            inside = [(a - first, b - first) for a, b in spans if first <= a and b < end]
            yield _Row(index, i, first, asked, tokens, values[first:end], inside)
            if end >= len(tokens):
                break
            first += length - overlap


def _notes(questions: Sequence[Question], rows: Sequence[_Row], arrays: Split, overlap: int) -> Iterator[str]:
    passages = sum(len(question.passages) for question in questions)
    negatives = sum(not passage.spans for question in questions for passage in question.passages)
    if negatives:
        yield f"{negatives:,} of {passages:,} passages have no answer and are negatives"
    if len(rows) > passages:
        windowed = len({(row.question, row.passage) for row in rows if row.first})
        yield f"{windowed:,} long passages are read in windows that overlap by {overlap} tokens"
    told = {(row.question, row.passage) for row in rows if row.spans}
    cut = passages - negatives - len(told)
    if cut:
        yield f"{cut:,} answers are longer than the overlap and in no window as a whole; raise it"
    ids = arrays["passage"]
    yield f"{(ids == 1).sum() / max((ids > 0).sum(), 1):.1%} of the tokens of passages are unknown"
