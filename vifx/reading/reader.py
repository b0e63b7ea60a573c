"""The reader: a network whose output is the distribution of starts and ends of answers."""

from __future__ import annotations

__all__ = ["Reader", "gated_logits"]

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpy.typing import NDArray

from vifx.core.types import Array
from vifx.distributions import Bernoulli, EachStep
from vifx.networks import AttentionPooling, GatedStack, add_positions
from vifx.reading.vocabulary import PADDING

_NEVER = -1e30  # the logit of what is not there: a probability of zero that is finite


class Reader(nn.Module):
    """``q(answer | question, passage, features)``: which tokens of a passage start an answer, and which end one.

    The question goes through gated convolutions and attention pooling to one vector, which every token of the passage
    gets beside its own, its position and its hand features; gated convolutions follow. "Half pointer, half tagging":
    with a score s of each token as a start, another as an end, and a score g of the whole passage, pooled likewise,
    ``P(start at t) = σ(s_t) σ(g)``, likewise of ends, all of them independent; padding has the log-density 0. So a
    passage may have several answers, or none, as the gate alone can say. What is said of padding in
    `networks.GatedStack` holds for the whole.

    Attributes:
      words: how many ids of tokens there are, padding and unknown included.
      features: numbers per token of every layer.
      question_dilations: the dilations of the question's convolutions.
      passage_dilations: the dilations of the passage's convolutions.
      noise: a of the uniform noise on the gates, in training (`networks.GatedConv`).
      dropout: of the gates, in training.
      positions: how many sines and cosines of its position a token gets; 0 for none.
      hand_features: whether a token gets its `reading.features`.
      gated: whether the convolutions have gates; otherwise they are residual with a rectifier, for comparison.
      vectors: word vectors, ``[words, dimensions]``; None for learned ones of size `features`.
      frozen: whether given vectors are kept fixed, as state; otherwise training starts from them.

    Reference: Su, DGCNN, a convolutional model for reading comprehension, 2018, kexue.fm/archives/5409.

    >>> reader = Reader(5000, noise=0.1, positions=32, hand_features=True)
    """

    words: int
    features: int = 64
    question_dilations: Sequence[int] = (1, 2, 1)
    passage_dilations: Sequence[int] = (1, 2, 4, 8, 16, 1)
    noise: float = 0.0
    dropout: float = 0.0
    positions: int = 0
    hand_features: bool = False
    gated: bool = True
    vectors: NDArray[np.floating] | None = None
    frozen: bool = True

    def __post_init__(self) -> None:
        """Check the vectors."""
        if self.vectors is not None and (self.vectors.ndim != 2 or len(self.vectors) != self.words):
            raise ValueError(
                f"vectors must be [{self.words}, dimensions], one for each of the words, but have shape "
                f"{list(self.vectors.shape)}; read_vectors(path, vocabulary) makes them"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, question: Array, passage: Array, features: Array, *, train: bool = False) -> Any:
        """Return the distribution of ``[tokens, 2]`` for each example: starts in channel 0 and ends in channel 1.

        Args:
          question: ids ``[examples, question length]``, 0 for padding, which comes last.
          passage: ids ``[examples, tokens]``, likewise.
          features: ``[examples, tokens, 8]``.
          train: whether gates have noise.

        Raises:
          ValueError: if a question or a passage is padding alone; in compiled code, where values cannot be checked, its
            answers have probability 0.
        """
        asked, told = _mask(question, "question"), _mask(passage, "passage")
        table = self._table(features.dtype)
        inner = self._stack(self.question_dilations, "question_stack")(_rows(table, question), asked, train=train)
        vector = AttentionPooling(name="question_pooling")(inner, asked)
        x = _rows(table, passage)
        x = add_positions(x, self.positions) if self.positions else x
        x = jnp.concatenate([x, features], axis=-1) if self.hand_features else x
        # The product with both side by side is the sum of the products with each.
        x = nn.Dense(self.features, name="of_token")(jnp.where(told[..., None], x, 0))
        x = x + nn.Dense(self.features, use_bias=False, name="of_question")(vector)[:, None]
        x = self._stack(self.passage_dilations, "passage_stack")(x, told, train=train)
        scores = nn.Dense(2, name="taggers")(x)
        pooled = AttentionPooling(name="passage_pooling")(x, told)
        gate = nn.Dense(1, name="gate")(jnp.concatenate([pooled, vector], axis=-1))
        logits = jnp.where(told[..., None], gated_logits(scores, gate[:, None]), _NEVER)
        lengths = jnp.maximum(jnp.sum(told, axis=1, dtype=jnp.int32), 1)
        return EachStep(Bernoulli(logits.reshape(-1, 2)).to_event(1), passage.shape[1], lengths=lengths)

    def _stack(self, dilations: Sequence[int], name: str) -> GatedStack:
        return GatedStack(
            self.features, tuple(dilations), noise=self.noise, dropout=self.dropout, gated=self.gated, name=name
        )

    def _table(self, dtype: Any) -> Array:
        """Return a vector for each id, ``[words, dimensions]``."""
        if self.vectors is None:
            init = nn.initializers.normal(self.features**-0.5)
            return self.param("embedding", init, (self.words, self.features))
        given = jnp.asarray(self.vectors, jnp.float32)
        if self.frozen:
            return self.variable("vectors", "embedding", lambda: given).value.astype(dtype)
        return self.param("embedding", lambda _: given)


def gated_logits(scores: Array, gate: Array) -> Array:
    """Return the logit of ``σ(s) σ(g)``, which is ``−log(e^−s + e^−g + e^(−s−g))``.

    So neither a product that underflows nor the logarithm of one minus it is computed.
    """
    gate = jnp.broadcast_to(gate, scores.shape)
    return -jnp.logaddexp(jnp.logaddexp(-scores, -gate), -scores - gate)


def _rows(table: Array, ids: Array) -> Array:
    """Return the rows of a table; NaN for an id beyond it."""
    return table.at[ids].get(mode="fill", fill_value=jnp.nan)


def _mask(ids: Array, name: str) -> Array:
    """Return which places of ``[examples, length]`` have a token."""
    if ids.ndim != 2 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"{name} must be ids of tokens, integers [examples, length], got {ids.dtype}{list(ids.shape)}")
    mask = ids != PADDING
    if not isinstance(mask, Tracer) and (empty := ~np.asarray(mask).any(axis=1)).any():
        raise ValueError(
            f"{name} must have a token in every example, got padding alone in example {int(empty.argmax())}; leave it "
            "out"
        )
    return mask
