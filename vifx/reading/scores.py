"""Scores of answers: exact match, F1, and their mean."""

from __future__ import annotations

__all__ = ["exact_match", "f1", "measured"]

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vifx.evaluation import Estimate
from vifx.reading.questions import Question
from vifx.reading.tokens import Unit, tokenize

_ARTICLES = ("a", "an", "the")


def exact_match(answer: str | None, answers: Sequence[str], *, unit: Unit = "words") -> float:
    """Return 1 if an answer is one of `answers` but for case, punctuation, English articles and spaces, else 0.

    If there is no right answer, None is correct.

    Args:
      answer: the answer, or None.
      answers: every right answer.
      unit: what a token is; articles are left out of words alone.

    >>> exact_match("The Nile.", ["Nile"])
    1.0
    """
    if not answers or answer is None:
        return float(not answers and answer is None)
    return float(_parts(answer, unit) in [_parts(each, unit) for each in answers])


def f1(answer: str | None, answers: Sequence[str], *, unit: Unit = "words") -> float:
    """Return the best harmonic mean of precision and recall of tokens of an answer against one of `answers`.

    Precision is the share of the answer's tokens that the right one has, as often; recall is the converse. If there
    is no right answer, None is correct. Reference: Rajpurkar et al., SQuAD, 2016.

    Args:
      answer: the answer, or None.
      answers: every right answer.
      unit: what a token is; characters for scripts without spaces.

    >>> f1("the long Nile flood", ["Nile"]), f1("Rhine", ["Nile"])
    (0.5, 0.0)
    """
    if not answers or answer is None:
        return float(not answers and answer is None)
    return max(_f1(_parts(answer, unit), _parts(each, unit)) for each in answers)


def measured(
    answers: Mapping[str, str | None], questions: Sequence[Question], *, unit: Unit = "words"
) -> dict[str, Estimate]:
    """Return exact match, F1 and their mean, the score of the DGCNN's board, over questions with standard errors.

    Args:
      answers: the answers by the id of the question; None, or left out, for no answer.
      questions: with their answer keys.
      unit: what a token is.

    Raises:
      ValueError: if there is no question.
    """
    if not questions:
        raise ValueError("questions must have at least one question, got none")
    exact = [exact_match(answers.get(each.id), each.answers, unit=unit) for each in questions]
    overlap = [f1(answers.get(each.id), each.answers, unit=unit) for each in questions]
    return {
        "exact_match": Estimate(np.array(exact)),
        "f1": Estimate(np.array(overlap)),
        "score": Estimate((np.array(exact) + np.array(overlap)) / 2),
    }


def _parts(text: str, unit: Unit) -> list[str]:
    spoken = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
    return [name for name in tokenize(spoken, unit=unit).names if unit == "characters" or name not in _ARTICLES]


def _f1(answer: list[str], right: list[str]) -> float:
    common = sum((Counter(answer) & Counter(right)).values())
    return 2 * common / (len(answer) + len(right)) if common else float(answer == right)
