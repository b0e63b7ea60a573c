"""What experiments with a reader measure, draw and answer.

Each function returns a function of (key, params, state), as `Experiment` takes them.
"""

from __future__ import annotations

__all__ = ["answerer", "draw_heat_maps", "scores"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from vifx import reading
from vifx.evaluation import Estimate
from vifx.evaluation.batches import in_batches
from vifx.experiment.file import Drawing, Measure
from vifx.joint import Joint
from vifx.reading import Answer, Encoded, Question, Reading
from vifx.types import Array, Key, Params, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEY = 0x72656164  # networks in evaluation mode read no noise, and still need a key


def scores(
    generative: Joint, encoded: Encoded, *, longest: int = 12, threshold: float = 0.1, unit: reading.Unit = "words"
) -> Measure:
    """Measure exact match, F1 and their mean over the questions of a split, and how many have an answer at all.

    Args:
      generative: with the factor of ``answer``.
      encoded: usually the test split.
      longest: the most tokens of an answer.
      threshold: a start and an end need a probability above it.
      unit: what a token is.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        probabilities = _rows(generative, params, state, encoded.arrays)
        found = reading.answers(encoded, probabilities, longest=longest, threshold=threshold)
        best = {
            question.id: answers[0].text if answers else None
            for question, answers in zip(encoded.questions, found, strict=True)
        }
        answered = np.array([float(answer is not None) for answer in best.values()])
        return {**reading.measured(best, encoded.questions, unit=unit), "answered": Estimate(answered)}

    return measure


def answerer(
    generative: Joint, loaded: Reading, *, longest: int = 12, threshold: float = 0.1
) -> Callable[[Params, State, Question], Sequence[Answer]]:
    """Return ``(params, state, question) -> answers`` for questions of one's own.

    Args:
      generative: with the factor of ``answer``.
      loaded: gives the vocabulary and the lengths.
      longest: the most tokens of an answer.
      threshold: a start and an end need a probability above it.
    """

    def answer(params: Params, state: State, question: Question) -> Sequence[Answer]:
        encoded = loaded.encode([question])
        probabilities = _rows(generative, params, state, encoded.arrays)
        return reading.answers(encoded, probabilities, longest=longest, threshold=threshold)[0]

    return answer


def draw_heat_maps(generative: Joint, encoded: Encoded, *, n: int = 3) -> Mapping[str, Drawing]:
    """Return drawings of the two taggers over a passage with an answer, for each of the first `n` questions of a split.

    Args:
      generative: with the factor of ``answer``.
      encoded: usually the test split.
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
            return reading.heat_map(question.text, words, probabilities)

        return draw

    return {f"reading_{i}": drawing(int(row)) for i, row in enumerate(rows, start=1)}


def _rows(generative: Joint, params: Params, state: State, split: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the probabilities of starts and ends, ``[rows, tokens, 2]``."""
    return in_batches(jax.random.key(_KEY), partial(_mean, generative), params, state, split, batch_size=64)


@partial(jax.jit, static_argnums=0)
def _mean(
    generative: Joint, key: Key, params: Params, state: State, batch: Mapping[str, Array], indices: Array
) -> Array:
    del indices
    return generative.sample(key, params, state, batch).conditionals["answer"].mean
