"""Sequences whose steps are regressions on the step before, with coefficients that change from step to step."""

from __future__ import annotations

__all__ = ["AutoregressiveSteps", "step_before"]

from typing import Any

import jax.numpy as jnp

from vifx.core.types import Array, Key
from vifx.distributions.each_step import EachStep
from vifx.distributions.linear_recursion import values_over_time
from vifx.distributions.small_matrices import times


def step_before(value: Array, start: Array | None = None) -> Array:
    """Return ``x_{t−1}`` for every step of sequences ``[..., T, d]``.

    Args:
      start: what is before the first step, ``[..., d]``, by default 0.
    """
    first = value[..., :1, :]
    first = jnp.zeros_like(first) if start is None else jnp.broadcast_to(start[..., None, :], first.shape)
    return jnp.concatenate([first, value[..., :-1, :]], axis=-2)


class AutoregressiveSteps(EachStep):
    """``x_t = A_t x_{t−1} + e_t``: given its parents, step t depends on the step before it as well.

    Args:
      each: the law of the e_t, batch shape ``[sequences × length]``, sequence by sequence, vectors of size d.
      length: T.
      transition: the matrices A, ``[sequences, T, d, d]``.
      start: x_0, ``[sequences, d]``; 0 by default.

    Raises:
      ValueError: if the batch of `each` is not divided by `length`.
    """

    pytree_data_fields = ("transition", "start")

    def __init__(self, each: Any, length: int, transition: Array, *, start: Array | None = None) -> None:
        super().__init__(each, length)
        self.transition, self.start = transition, start

    def after(self, start: Array) -> AutoregressiveSteps:
        """Return the same law of what follows another x_0, ``[sequences, d]``."""
        return AutoregressiveSteps(self.each, self.length, self.transition, start=start)

    @property
    def mean(self) -> Array:
        """The mean of every step, ``[sequences, length, d]``."""
        return self._walked(super().mean)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``[*sample_shape, sequences, length, d]``."""
        return self._walked(super().sample(key, sample_shape))

    def step_log_probs(self, value: Array) -> Array:
        """Return ``log q(x_t | x_{t−1}, …)`` in nats of every step, ``[..., sequences, length]``.

        Args:
          value: ``[..., sequences, length, d]``.
        """
        ones = (1,) * (value.ndim - 3)
        transition = self.transition.reshape(*ones, *self.transition.shape)
        start = None if self.start is None else self.start.reshape(*ones, *self.start.shape)
        return super().step_log_probs(value - times(transition, step_before(value, start)))

    def _walked(self, noise: Array) -> Array:
        moved = jnp.moveaxis(noise, -2, 0)
        transition = jnp.moveaxis(self.transition, 1, 0)
        ones = (1,) * (moved.ndim - 3)
        transition = transition.reshape(self.length, *ones, *transition.shape[1:])
        start = (
            jnp.zeros_like(moved[0])
            if self.start is None
            else jnp.broadcast_to(self.start.reshape(*ones, *self.start.shape), moved.shape[1:])
        )
        found = values_over_time(start, transition, moved, reverse=False, parallel=False)
        return jnp.moveaxis(found, 0, -2)
