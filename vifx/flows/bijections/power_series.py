"""Estimates of ``log det(I + J)`` from products of J with random vectors."""

from __future__ import annotations

__all__ = ["estimated_log_det"]

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Key, PyTree


def estimated_log_det(
    key: Key,
    residual: Callable[[PyTree, Array], Array],
    constants: PyTree,
    rows: Array,
    *,
    terms: int,
    survival: float | None,
) -> Array:
    """Estimate ``log det(I + ∂g/∂x) = Σ_k (−1)^(k+1) tr(J^k)/k`` in nats, ``[examples]``, for a contraction g.

    The trace is estimated by ``vᵀ J^k v`` with v of random signs. The series ends after `terms` terms or, if
    `survival` is given, goes on after each further one with that probability, and term ``terms + j`` is divided by
    the probability ``survival^j`` of reaching it, so that the expectation is that of the whole series. One length is
    drawn for all rows.

    The gradient is not that of the drawn value but ``Σ_k (−1)^(k+1) w_k vᵀ J^(k−1) ∂J v`` with the same weights: as
    unbiased, and in memory that does not grow with the number of terms.

    Args:
      residual: g, of ``(constants, rows)``, each row of its own.
      constants: everything else that g depends on and is differentiated with respect to.
      rows: ``[examples, elements]``.
      survival: the probability with which the series goes on, or None.
    """
    probe = jax.random.rademacher(jax.random.fold_in(key, 0), rows.shape, rows.dtype)
    length = jnp.asarray(terms)
    if survival is not None:
        tiny = jnp.finfo(rows.dtype).tiny
        drawn = jax.random.uniform(jax.random.fold_in(key, 1), (), rows.dtype, minval=tiny)
        length = terms + jnp.floor(jnp.log(drawn) / math.log(survival)).astype(length.dtype)
    fixed = jax.lax.stop_gradient((constants, rows))
    _, pull = jax.vjp(lambda x: residual(fixed[0], x), fixed[1])

    def term(carry: tuple[Any, Array, Array, Array, Array]) -> tuple[Any, Array, Array, Array, Array]:
        index, weight, power, summed, value = carry
        if survival is not None:
            weight = jnp.where(index > terms, weight / survival, weight)
        signed = jnp.where(index % 2 == 1, weight, -weight)
        summed = summed + signed * power
        (power,) = pull(power)
        value = value + signed / index.astype(rows.dtype) * jnp.sum(power * probe, axis=-1)
        return index + 1, weight, power, summed, value

    zero = jnp.zeros(rows.shape[0], rows.dtype)
    start = (jnp.ones_like(length), jnp.ones((), rows.dtype), probe, jnp.zeros_like(rows), zero)
    *_, summed, value = jax.lax.while_loop(lambda carry: carry[0] <= length, term, start)
    _, moved = jax.jvp(lambda x: residual(constants, x), (rows,), (probe,))
    slope = jnp.sum(summed * moved, axis=-1)
    return value + (slope - jax.lax.stop_gradient(slope))
