"""Sequences of symbols, each given those before it."""

from __future__ import annotations

__all__ = ["Autoregressive"]

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from numpyro.distributions import constraints

from vifx.core.types import Array, Key
from vifx.distributions.supports import WholeNumbers, inside_of


class Autoregressive(NamedTuple):
    """``P(x) = Π_t P(x_t | x_1 … x_{t−1})`` over sequences of the symbols ``0 … classes − 1``.

    One event is a whole sequence of integers, ``[length]``. `log_prob` takes one pass through the network, a sample one
    for each symbol.

    Attributes:
      logits: from symbols ``[rows, length]`` to ``[rows, length, classes]``; what it returns at t depends on the
        symbols of its row before t alone. Rows are ``copies × examples``, copy by copy.
      examples: how many members the batch has; None without a batch axis.
      length: T, the symbols of a sequence.
      classes: how many symbols there are.
      dropped: the logits that `log_prob` takes, if they are not the same, as in training with dropped symbols.
    """

    logits: Callable[[Array], Array]
    examples: int | None
    length: int
    classes: int
    dropped: Callable[[Array], Array] | None = None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """``(examples,)``, or ``()`` without a batch axis."""
        return () if self.examples is None else (self.examples,)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``(length,)``."""
        return (self.length,)

    @property
    def support(self) -> constraints.Constraint:
        """The symbols, at every place."""
        return constraints.independent(WholeNumbers(largest=self.classes - 1), 1)

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats of sequences ``[..., *batch, length]``: ``[..., *batch]``.

        It is −∞ where a value is not a symbol.
        """
        inside, value = inside_of(self.support, jnp.asarray(value), event=1)
        rows = value.astype(jnp.int32).reshape(-1, self.length)
        log_probs = jax.nn.log_softmax((self.dropped or self.logits)(rows))
        each = jnp.take_along_axis(log_probs, rows[..., None], axis=-1)[..., 0]
        return jnp.where(inside, jnp.sum(each, axis=-1).reshape(value.shape[:-1]), -jnp.inf)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw sequences symbol by symbol, integers ``[*sample_shape, *batch, length]``."""
        shape = (*sample_shape, *self.batch_shape)

        def one(rows: Array, now: tuple[Array, Key]) -> tuple[Array, None]:
            place, noise = now
            logits = jax.lax.dynamic_index_in_dim(self.logits(rows), place, axis=1, keepdims=False)
            drawn = jax.random.categorical(noise, logits).astype(rows.dtype)
            return jax.lax.dynamic_update_index_in_dim(rows, drawn, place, axis=1), None

        start = jnp.zeros((math.prod(shape), self.length), jnp.int32)
        rows, _ = jax.lax.scan(one, start, (jnp.arange(self.length), jax.random.split(key, self.length)))
        return rows.reshape(*shape, self.length)
