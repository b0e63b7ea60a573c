"""From the probabilities of starts and ends to spans of text, and from several passages to one answer."""

from __future__ import annotations

__all__ = ["Spans", "answers", "best_spans", "vote"]

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vifx.checks import require_integer
from vifx.core.types import Array
from vifx.reading.answer import Answer, Place
from vifx.reading.encode import Encoded
from vifx.reading.questions import Question


class Spans(NamedTuple):
    """The best spans of each row, the best first.

    Attributes:
      first: the first token of each, integers ``[rows, count]``.
      last: the last token of each, integers ``[rows, count]``.
      score: the product of the probabilities that it starts and ends there, ``[rows, count]``; 0 where there is none.
    """

    first: Array
    last: Array
    score: Array


@partial(jax.jit, static_argnames=("longest", "count"))
def best_spans(probabilities: Array, *, longest: int = 12, threshold: float | Array = 0.0, count: int = 1) -> Spans:
    """Return the spans of the highest score ``p(start) p(end)`` among those that are not too long.

    Args:
      probabilities: that a token is the start, and the end, of an answer, ``[rows, tokens, 2]``.
      longest: the most tokens of an answer.
      threshold: both probabilities must be above it.
      count: how many spans of a row to return; they may overlap.

    Raises:
      ValueError: if the shape is another one, or a number is not positive.
    """
    if probabilities.ndim != 3 or probabilities.shape[-1] != 2:
        raise ValueError(f"probabilities must have shape [rows, tokens, 2], got {list(probabilities.shape)}")
    require_integer(longest, "longest")
    require_integer(count, "count")
    tokens = probabilities.shape[1]
    longest = min(longest, tokens)
    above = jnp.where(probabilities > threshold, probabilities, 0)
    starts, ends = above[..., 0], above[..., 1]
    later = jnp.pad(ends, ((0, 0), (0, longest - 1)))
    scores = jnp.stack([starts * later[:, offset : offset + tokens] for offset in range(longest)], axis=-1)
    score, index = jax.lax.top_k(scores.reshape(len(scores), -1), min(count, tokens * longest))
    return Spans(index // longest, index // longest + index % longest, score)


def vote(scores: Sequence[float] | ArrayLike) -> float:
    """Return ``Σ s² / (1 + Σ s)`` of the scores with which passages give an answer, the best score of each passage.

    The sum of squares prefers one sure passage to several unsure ones; the denominator keeps many passages from
    outweighing it.

    >>> vote([0.5, 0.5]), vote([1.0])
    (0.25, 0.5)
    """
    given = np.asarray(scores, np.float64)
    return float(np.sum(given**2) / (1 + np.sum(given)))


def answers(
    encoded: Encoded,
    probabilities: ArrayLike,
    *,
    longest: int = 12,
    threshold: float = 0.1,
    count: int = 16,
) -> list[tuple[Answer, ...]]:
    """Return the answers to each question, the best first: none if no piece of its passages reaches the threshold.

    Within a passage only the best place of each text counts, whichever window it is in; passages vote (`vote`). Texts
    are the same if their tokens are, `tokens.normalized`.

    Args:
      encoded: the questions and passages that were read.
      probabilities: of starts and ends, ``[rows, tokens, 2]``.
      longest: the most tokens of an answer.
      threshold: a start and an end need a probability above it.
      count: how many spans of a row to consider.

    Raises:
      ValueError: if there is another number of rows.
    """
    rows = len(encoded.question)
    given = jnp.asarray(probabilities)
    if given.shape[0] != rows:
        raise ValueError(f"probabilities must have one row for each of the {rows} encoded ones, got {given.shape[0]}")
    spans = jax.tree.map(np.asarray, best_spans(given, longest=longest, threshold=threshold, count=count))
    found: list[dict[tuple[str, ...], dict[int, Place]]] = [{} for _ in encoded.questions]
    for row, column in zip(*np.nonzero(spans.score), strict=True):
        question, passage = int(encoded.question[row]), int(encoded.passage[row])
        tokens, start = encoded.passages[question][passage], int(encoded.first[row])
        first, last = start + int(spans.first[row, column]), start + int(spans.last[row, column])
        if last >= len(tokens):
            continue  # padding
        names = tokens.names[first : last + 1]
        place = Place(passage, int(tokens.starts[first]), int(tokens.ends[last]), float(spans.score[row, column]))
        places = found[question].setdefault(names, {})
        if passage not in places or place.score > places[passage].score:
            places[passage] = place
    return [_ranked(texts, question) for texts, question in zip(found, encoded.questions, strict=True)]


def _ranked(texts: Mapping[tuple[str, ...], Mapping[int, Place]], question: Question) -> tuple[Answer, ...]:
    ranked = []
    for places in texts.values():
        ordered = tuple(sorted(places.values(), key=lambda place: (-place.score, place.passage)))
        best = ordered[0]
        text = question.passages[best.passage].text[best.start : best.end]
        ranked.append(Answer(text, vote([place.score for place in ordered]), ordered))
    return tuple(sorted(ranked, key=lambda answer: (-answer.score, answer.places[0].passage, answer.places[0].start)))
