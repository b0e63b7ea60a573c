"""Probabilities that may be zero: in products of matrices, and the best ones above a floor."""

from __future__ import annotations

__all__ = ["best_shares", "expected_log_probs", "normalized", "probabilities"]

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.core.types import Array

_ZERO = -1e30
_IMPOSSIBLE = -1e20


def expected_log_probs(weights: Array, log_probs: Array) -> Array:
    """Return ``Σ_v w_nv log π_vs``, ``[examples, states]``, with 0 log 0 = 0 and −∞ for what is impossible.

    One product of matrices: log π = −∞ is a large finite number in it, which a weight of zero makes vanish.

    Args:
      weights: at least 0, ``[examples, values]``.
      log_probs: in nats, ``[values, states]``.
    """
    total = weights @ jnp.maximum(log_probs, _ZERO)
    return jnp.where(total < _IMPOSSIBLE, -jnp.inf, total)


def normalized(logits: Array) -> Array:
    """Return log-probabilities in nats over the last axis, −∞ where logits are below −10²⁰."""
    log_probs = jax.nn.log_softmax(logits)
    return jnp.where(log_probs < _IMPOSSIBLE, -jnp.inf, log_probs)


def probabilities(logits: ArrayLike) -> np.ndarray:
    """Return the probabilities of logits over the last axis, in float64 on the host."""
    each = np.asarray(logits, np.float64)
    each = np.exp(each - each.max(axis=-1, keepdims=True))
    return each / each.sum(axis=-1, keepdims=True)


def best_shares(counts: Array, floor: float, otherwise: Array) -> Array:
    """Return the logarithms of the probabilities that maximize ``Σ_v n_v log π_v`` over ``π_v ≥ floor``.

    The logarithm of zero is −10³⁰ there, so that parameters are finite; `normalized` reads it as −∞.

    Without a floor ``π_v = n_v / Σ n``. With one, the values whose share of the rest would be below it have the
    floor, and the others share the rest in proportion to their counts.

    Args:
      counts: at least 0, ``[..., values]``.
      floor: the least probability, below ``1/values``.
      otherwise: the logarithms for rows without counts, ``[..., values]``.
    """
    total = jnp.sum(counts, axis=-1, keepdims=True)
    safe = jnp.where(total > 0, total, 1)
    if floor == 0:
        return jnp.where(total > 0, jnp.maximum(jnp.log(counts) - jnp.log(safe), _ZERO), otherwise)
    # The largest k counts share 1 − (values − k) floor: as many as have more than the floor then.
    values = counts.shape[-1]
    largest = -jnp.sort(-counts, axis=-1)
    rest = 1 - (values - 1 - jnp.arange(values, dtype=counts.dtype)) * floor
    rest = jnp.broadcast_to(rest, counts.shape)
    units = jnp.cumsum(largest, axis=-1) / rest
    number = jnp.sum(largest > floor * units, axis=-1, keepdims=True)
    unit = jnp.take_along_axis(units, jnp.maximum(number - 1, 0), axis=-1)
    shares = jnp.maximum(counts / jnp.where(total > 0, unit, 1), floor)
    return jnp.where(total > 0, jnp.log(shares), otherwise)
