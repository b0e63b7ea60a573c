"""Products with logarithms of zero: 0 log 0 = 0, in value and in gradient."""

from __future__ import annotations

__all__ = ["log_of", "weighted", "x_log_x"]

import jax.numpy as jnp

from vifx.core.types import Array


def weighted(weight: Array, log: Array) -> Array:
    """Return ``w ℓ`` elementwise, and 0 where w is 0 and ℓ is infinite or undefined.

    So ``weighted(probs, log_probs)`` is p log p. The gradient is that of the product, and 0 where the product is
    replaced.
    """
    nothing = (weight == 0) & ~jnp.isfinite(log)
    return jnp.where(nothing, 0, weight * jnp.where(nothing, 0, log))


def log_of(u: Array) -> Array:
    """Return ``log u`` for u ≥ 0, below the smallest normal number the logarithm of that, with the gradient 0."""
    tiny = jnp.finfo(u.dtype).tiny
    return jnp.log(jnp.where(u > tiny, u, tiny))


def x_log_x(u: Array) -> Array:
    """Return ``u log u`` for u ≥ 0, elementwise, with 0 log 0 = 0; the slope ``1 + log u`` is finite at 0 too."""
    return u * log_of(u)
