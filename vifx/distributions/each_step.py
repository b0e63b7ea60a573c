"""Sequences whose steps are independent of each other given their parents."""

from __future__ import annotations

__all__ = ["EachStep"]

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.distributions.lengths import inside, possible
from vifx.distributions.supports import Steps


class EachStep(numpyro.Distribution):
    """``Π_t q(x_t | …_t)``: one event is a sequence, its steps are members of one distribution.

    Unlike `to_event`, it promises that step t depends on step t of its parents alone, so that an expectation under a
    chain is taken step by step. `em.each_step` makes it.

    Args:
      each: the distribution of the steps, batch shape ``[sequences × length]``, sequence by sequence.
      length: T, the number of steps of a sequence.
      lengths: how many steps of each sequence there are, integers ``[sequences]`` from 1 to `length`; the others have
        log-density 0. All by default.

    Raises:
      ValueError: if the batch of `each` is not divided by `length`, or a length is out of range.
    """

    pytree_data_fields = ("each", "lengths")
    pytree_aux_fields = ("length",)

    def __init__(self, each: Any, length: int, *, lengths: Array | None = None) -> None:
        self.each, self.length, self.lengths = each, length, lengths
        shape = tuple(each.batch_shape)
        if len(shape) != 1 or shape[0] % length:
            raise ValueError(
                f"each has batch shape {list(shape)}, expected [sequences × {length}], one member per step; declare "
                "event dimensions with .to_event(n)"
            )
        if lengths is not None:
            inside("EachStep", lengths, shape[0] // length, length)
        super().__init__((shape[0] // length,), (length, *each.event_shape), validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """Sequences of what the steps can be; beyond the end of a sequence, anything."""
        return Steps(self.each.support, self.length, self.lengths)

    @property
    def mean(self) -> Array:
        """The mean of every step, ``[sequences, length, *event]``; beyond the end it stands for nothing."""
        return self.each.mean.reshape(*self.batch_shape, self.length, *self.each.event_shape)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``[*sample_shape, sequences, length, *event]``; steps beyond the length of a sequence too."""
        drawn = self.each.sample(key, sample_shape)
        return drawn.reshape(*sample_shape, *self.batch_shape, self.length, *drawn.shape[len(sample_shape) + 1 :])

    def step_log_probs(self, value: Array) -> Array:
        """Return the log-density in nats of every step, ``[..., sequences, length]``; 0 beyond the end.

        Args:
          value: ``[..., sequences, length, *event]``.
        """
        lead = value.ndim - len(self.event_shape) - 1
        steps = value.shape[lead] * self.length
        flat = value.reshape(*value.shape[:lead], steps, *value.shape[lead + 2 :])
        log_probs = self.each.log_prob(flat).reshape(*value.shape[:lead], -1, self.length)
        if self.lengths is None:
            return log_probs
        within = inside("EachStep", self.lengths, self.batch_shape[0], self.length)
        wrong = jnp.broadcast_to(possible(self.lengths, self.length)[:, None], log_probs.shape)
        return jnp.where(jnp.broadcast_to(within, log_probs.shape), log_probs, 0) + wrong.astype(log_probs.dtype)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats, ``[..., sequences]``."""
        return jnp.sum(self.step_log_probs(value), axis=-1)
