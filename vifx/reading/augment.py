"""Augmented evidence for a reader: passages are joined and cropped, tokens and labels dropped."""

from __future__ import annotations

__all__ = ["drop_answers", "drop_tokens", "splice"]

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_integer, require_number
from vifx.core.types import Batch, Key
from vifx.data import Transform
from vifx.reading.questions import Passage, Question
from vifx.reading.tokens import Unit, tokenize
from vifx.reading.vocabulary import PADDING, UNKNOWN


def drop_tokens(rate: float, *, variables: Sequence[str] = ("question", "passage")) -> Transform:
    """Replace each token by the unknown one with probability `rate`; the features and the answer stay.

    Args:
      rate: a probability below 1.
      variables: ids of tokens, 0 for padding, which stays.

    Raises:
      TypeError: if `rate` is not a number.
      ValueError: if it is out of range.
    """
    require_number(rate, "rate", least=0, below=1)

    def transform(key: Key, batch: Batch) -> Batch:
        out = dict(batch)
        for i, name in enumerate(variables):
            ids = batch[name]
            dropped = jax.random.bernoulli(jax.random.fold_in(key, i), rate, ids.shape) & (ids != PADDING)
            out[name] = jnp.where(dropped, jnp.asarray(UNKNOWN, ids.dtype), ids)
        return out

    return transform


def drop_answers(rate: float, *, variable: str = "answer") -> Transform:
    """Drop each answer, its start together with its end, with probability `rate`.

    The k-th start of a row belongs to the k-th end, as it does where answers do not overlap.

    Args:
      rate: a probability below 1.
      variable: starts and ends, ``[examples, tokens, 2]``.

    Raises:
      TypeError: if `rate` is not a number.
      ValueError: if it is out of range.
    """
    require_number(rate, "rate", least=0, below=1)

    def transform(key: Key, batch: Batch) -> Batch:
        labels = batch[variable]
        order = jnp.cumsum(labels, axis=1).astype(jnp.int32)  # [examples, tokens, 2]: which answer it is, from 1
        kept = jax.random.bernoulli(key, 1 - rate, labels.shape[:2]).astype(labels.dtype)
        which = jnp.maximum(order - 1, 0)
        return {**batch, variable: labels * jnp.take_along_axis(kept[..., None], which, axis=1)}

    return transform


def splice(questions: Sequence[Question], *, length: int, seed: int, unit: Unit = "words") -> list[Question]:
    """Join each passage with another one of its question, and crop `length` tokens out of the two at random.

    Questions of one passage have it cropped alone. An answer counts only if all of it is left.
    The result is further evidence for training, as large as the first; encode both.

    Args:
      questions: the questions of the training split.
      length: the most tokens of a passage afterwards.
      seed: seed of the draws.
      unit: what a token is.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if `length` is not positive or `seed` is negative.
    """
    require_integer(length, "length")
    random = np.random.RandomState(require_integer(seed, "seed", least=0))
    spliced = []
    for question in questions:
        passages = [
            _cropped(_joined(question.passages, i, random), length, random, unit) for i in range(len(question.passages))
        ]
        spliced.append(Question(f"{question.id}-spliced", question.text, tuple(passages), question.answers))
    return spliced


def _joined(passages: Sequence[Passage], index: int, random: np.random.RandomState) -> Passage:
    """Return a passage before or after another one, with the answers of both."""
    others = [i for i in range(len(passages)) if i != index]
    if not others:
        return passages[index]
    pair = [passages[index], passages[others[random.randint(len(others))]]]
    first, second = (pair[i] for i in random.permutation(2))
    shift = len(first.text) + 1
    return Passage(
        f"{first.text} {second.text}", (*first.spans, *((start + shift, end + shift) for start, end in second.spans))
    )


def _cropped(passage: Passage, length: int, random: np.random.RandomState, unit: Unit) -> Passage:
    tokens = tokenize(passage.text, unit=unit)
    first = int(random.randint(max(len(tokens) - length, 0) + 1))
    last = min(first + length, len(tokens)) - 1
    low, high = int(tokens.starts[first]), int(tokens.ends[last])
    inside = ((start - low, end - low) for start, end in passage.spans if low <= start and end <= high)
    return Passage(passage.text[low:high], tuple(inside))
