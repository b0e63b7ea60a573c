"""Affine recursions over time of means and of square roots of covariances, by one scan or by an associative one."""

from __future__ import annotations

__all__ = ["scales_over_time", "values_over_time"]

import jax
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.distributions.small_matrices import added, product, times


def values_over_time(first: Array, transition: Array, steps: Array, *, reverse: bool, parallel: bool) -> Array:
    """Return what follows by ``z_{t+1} = A_t z_t + s_t``, ``[T−1, …, D]``; in reverse, z_t from z_{t+1}.

    Args:
      first: where it starts, ``[…, D]``.
      transition: A, ``[T−1, …, D, D]``, with 1 in place of axes that share it.
      steps: s, ``[T−1, …, D]``, likewise.
      reverse: whether it starts from the end.
      parallel: whether by an associative scan.
    """
    if parallel:
        lead = jnp.broadcast_shapes(transition.shape[:-2], steps.shape[:-1])
        steps = jnp.broadcast_to(steps, (*lead, steps.shape[-1]))
        matrix, moved = jax.lax.associative_scan(_values_composed, (transition, steps), reverse=reverse)
        return times(matrix, first[None]) + moved

    def step(now: Array, factor: tuple[Array, Array]) -> tuple[Array, Array]:
        following = times(factor[0], now) + factor[1]
        return following, following

    return jax.lax.scan(step, first, (transition, steps), reverse=reverse)[1]


def scales_over_time(first: Array, transition: Array, scale: Array, *, reverse: bool, parallel: bool) -> Array:
    """Return the Cholesky factors of ``P_{t+1} = A_t P_t A_tᵀ + L_t L_tᵀ``, ``[T−1, …, D, D]``; likewise in reverse.

    Args:
      first: a square root of the first covariance, ``[…, D, D]``.
      transition: A, ``[T−1, …, D, D]``, with 1 in place of axes that share it.
      scale: L, ``[T−1, …, D, D]`` with all axes of the result.
      reverse: whether it starts from the end.
      parallel: whether by an associative scan.
    """
    if parallel:
        transition = jnp.broadcast_to(transition, scale.shape)
        matrix, scale = jax.lax.associative_scan(_scales_composed, (transition, scale), reverse=reverse)
        return added(product(matrix, first[None]), scale)

    def step(now: Array, factor: tuple[Array, Array]) -> tuple[Array, Array]:
        following = added(product(factor[0], now), factor[1])
        return following, following

    return jax.lax.scan(step, first, (transition, scale), reverse=reverse)[1]


def _values_composed(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
    return product(then[0], first[0]), times(then[0], first[1]) + then[1]


def _scales_composed(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
    return product(then[0], first[0]), added(product(then[0], first[1]), then[1])
