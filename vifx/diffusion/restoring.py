"""The reverse chain of categorical data: noise to data, by a network that says what every element may be."""

from __future__ import annotations

__all__ = ["Restoring", "every_path"]

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.diffusion.corruption import Corruption
from vifx.diffusion.samplers import Sampler
from vifx.diffusion.state_samplers import discrete_ancestral, drawn_states
from vifx.distributions.markov_chain import all_sequences

Restore = Callable[..., Array]


class Restoring(numpyro.Distribution):
    """``q(z) = q(z_T) Π_t q(z_{t−1} | z_t)``: paths ``[points, *event]`` from z_0 on; `discrete_reverse` makes it.

    A step is Bayes' rule with x̂(z_t, t) as the law of the data, and z_T has the law that data have whose elements are
    uniform: ``q(z_T) = α_T/K 1[no mask] + (1 − α_T) π``.

    Args:
      restore: ``(z, alpha, examples=None) -> log x̂`` at ``[rows, *event]`` and ``[rows]``, ``[rows, *event, K]``, where
        `examples` says whose parents a row has, integers ``[rows]``.
      noise: that of the forward chain.
      steps: T, or None for continuous time.
      event: the shape of one value.
      examples: how many members the batch has; None without parents.
      sampler: how z_0 is drawn in continuous time.
    """

    pytree_data_fields = ()
    pytree_aux_fields = ("restore", "noise", "steps", "event", "examples", "sampler")

    def __init__(
        self,
        restore: Restore,
        noise: Corruption,
        steps: int | None,
        event: tuple[int, ...],
        *,
        examples: int | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        self.restore, self.noise, self.steps, self.event = restore, noise, steps, tuple(event)
        self.examples, self.sampler = examples, sampler
        batch = () if examples is None else (examples,)
        super().__init__(batch, ((steps or 1) + 1, *event), validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable: they are not."""
        return False

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """All paths."""
        states = numpyro.constraints.integer_interval(0, self.noise.states - 1)
        return numpyro.constraints.independent(states, len(self.event_shape))

    def _whose(self, rows: int) -> Array | None:
        return None if self.examples is None else jnp.tile(jnp.arange(self.examples), rows // self.examples)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths ``[*sample_shape, *batch, points, *event]``, in one scan."""
        lead = (*sample_shape, *self.batch_shape)
        rows = math.prod(lead)
        begin, end, rest = jax.random.split(key, 3)
        data = jax.random.randint(begin, (rows, *self.event), 0, self.noise.classes, jnp.int32)
        last = self.noise.corrupted(end, data, self.noise.end)
        if self.steps is not None:
            path = drawn_states(rest, self, last, self.steps, examples=self._whose(rows), temperature=1.0)
        else:
            sampler = discrete_ancestral() if self.sampler is None else self.sampler
            path = jnp.stack([sampler.draw(rest, self, last, self._whose(rows)), last], axis=1)
        return path.reshape(*lead, *self.event_shape)

    def log_prob(self, value: Array) -> Array:
        """Return ``log q(z_T) + Σ_t log q(z_{t−1} | z_t)`` in nats of paths ``[..., *batch, T + 1, *event]``.

        The network runs once for each step, one step after the other.

        Raises:
          ValueError: in continuous time, where the ends alone have no density of closed form.
        """
        if self.steps is None:
            raise ValueError(
                "a reverse chain in continuous time has no density of its ends; compare it with discrete_forward(...) "
                "by kl"
            )
        lead = value.shape[: value.ndim - len(self.event_shape)]
        points = jnp.broadcast_to(value, (*lead, *self.event_shape)).reshape(-1, *self.event_shape)
        points = jnp.moveaxis(points, 1, 0)
        rows = points.shape[1]
        grid = self.noise.survival.grid(self.steps + 1)
        last = points[-1]
        anything = jnp.where(last < self.noise.classes, -math.log(self.noise.classes), -jnp.inf).astype(grid.dtype)
        whole = _summed(self.noise.log_mixed(anything, last, grid[-1]))

        def add(found: Array, each: Any) -> tuple[Array, None]:
            earlier, later, before, alpha = each
            log_data = self.restore(later, jnp.broadcast_to(alpha, (rows,)), self._whose(rows))
            return found + _summed(_log_step(self.noise, earlier, later, log_data, before, alpha)), None

        found, _ = jax.lax.scan(add, whole, (points[:-1], points[1:], grid[:-1], grid[1:]))
        return found.reshape(lead)

    def every_sequence(self) -> Array:
        """Return all paths, integers ``[paths, points, *event]``.

        Raises:
          ValueError: if they are too many.
        """
        return every_path(self.noise, self.event_shape)


def every_path(noise: Corruption, shape: tuple[int, ...]) -> Array:
    """Return all paths of a shape, integers ``[paths, *shape]``.

    Raises:
      ValueError: if they are too many.
    """
    return all_sequences(noise.states, math.prod(shape)).reshape(-1, *shape)


def _summed(each: Array) -> Array:
    return jnp.sum(each.reshape(len(each), -1), axis=1)


def _log_step(noise: Corruption, earlier: Array, later: Array, log_data: Array, before: Array, alpha: Array) -> Array:
    """``log q(z_s | z_t)`` of every element: ``log p(z_t | z_s) + log P̂_s(z_s) − log P̂_t(z_t)``."""

    def mixed(z: Array, kept: Array) -> Array:
        at = jnp.take_along_axis(log_data, jnp.minimum(z, noise.classes - 1)[..., None], axis=-1)[..., 0]
        return noise.log_mixed(jnp.where(z < noise.classes, at, -jnp.inf), z, kept.astype(at.dtype))

    stays = jnp.where(earlier == later, 0.0, -jnp.inf).astype(log_data.dtype)
    moved = noise.log_mixed(stays, later, (alpha / before).astype(log_data.dtype))
    now = mixed(later, alpha)
    possible = (moved > -jnp.inf) & (now > -jnp.inf)
    return jnp.where(possible, moved + mixed(earlier, before) - jnp.where(possible, now, 0), -jnp.inf)
