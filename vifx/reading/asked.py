"""A trained reader that is asked: its answers, their scores, and heat maps of its two taggers."""

from __future__ import annotations

__all__ = ["answerer", "draw_heat_maps", "measure_answers"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure
from vifx.reading.answer import Answer
from vifx.reading.decode import answers
from vifx.reading.encode import Encoded
from vifx.reading.figure import heat_map
from vifx.reading.load import Reading
from vifx.reading.questions import Question
from vifx.reading.scores import measured
from vifx.reading.tokens import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEY = 0x72656164  # networks in evaluation mode read no noise, and still need a key


def measure_answers(
    generative: Joint, encoded: Encoded, *, longest: int = 12, threshold: float = 0.1, unit: Unit = "words"
) -> Measure:
    """Measure exact match, F1 and their mean over the questions of a split, and how many have an answer at all.

    Args:
      generative: with the factor of ``answer``.
      threshold: a start and an end need a probability above it.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        probabilities = _rows(generative, params, state, encoded.arrays)
        found = answers(encoded, probabilities, longest=longest, threshold=threshold)
        best = {
            question.id: answers[0].text if answers else None
            for question, answers in zip(encoded.questions, found, strict=True)
        }
        answered = np.array([float(answer is not None) for answer in best.values()])
        return {**measured(best, encoded.questions, unit=unit), "answered": Estimate(answered)}

    return measure


def answerer(
    generative: Joint, loaded: Reading, *, longest: int = 12, threshold: float = 0.1
) -> Callable[[Params, State, Question], Sequence[Answer]]:
    """Return ``(params, state, question) -> answers`` for questions of one's own.

    Args:
      generative: with the factor of ``answer``.
      threshold: a start and an end need a probability above it.
    """

    def answer(params: Params, state: State, question: Question) -> Sequence[Answer]:
        encoded = loaded.encode([question])
        probabilities = _rows(generative, params, state, encoded.arrays)
        return answers(encoded, probabilities, longest=longest, threshold=threshold)[0]

    return answer


def draw_heat_maps(generative: Joint, encoded: Encoded, *, n: int = 3) -> Mapping[str, Drawing]:
    """Return drawings of the two taggers over a passage with an answer, for each of the first `n` questions of a split.

    Args:
      generative: with the factor of ``answer``.
      n: how many questions; those whose passages have no answer are left out.
    """
    with_answer = np.flatnonzero(encoded.arrays["answer"].any(axis=(1, 2)))
    _, firsts = np.unique(encoded.question[with_answer], return_index=True)
    rows = with_answer[firsts][:n]

    def drawing(row: int) -> Drawing:
        def draw(key: Key, params: Params, state: State) -> Figure:
            del key
            one = {name: array[row : row + 1] for name, array in encoded.arrays.items()}
            probabilities = _rows(generative, params, state, one)[0]
            question, first = encoded.questions[encoded.question[row]], int(encoded.first[row])
            tokens = encoded.passages[encoded.question[row]][encoded.passage[row]]
            last = min(first + len(probabilities), len(tokens))
            words = [tokens.span(i, i) for i in range(first, last)]
            return heat_map(question.text, words, probabilities)

        return draw

    return {f"reading_{i}": drawing(int(row)) for i, row in enumerate(rows, start=1)}


def _rows(generative: Joint, params: Params, state: State, split: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the probabilities of starts and ends, ``[rows, tokens, 2]``."""
    return in_batches(jax.random.key(_KEY), partial(_mean, generative), params, state, split, batch_size=64)


@partial(jax.jit, static_argnums=0)
def _mean(generative: Joint, rows: Rows) -> Array:
    return generative.sample(rows.key, rows.params, rows.state, rows.batch).conditionals["answer"].mean
