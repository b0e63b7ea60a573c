"""Covariances that stay positive definite."""

from __future__ import annotations

__all__ = ["floored_cholesky"]

import jax
import jax.numpy as jnp

from vifx.types import Array


def floored_cholesky(covariance: Array, floor: float) -> Array:
    """Return the Cholesky factors of covariances whose eigenvalues below a floor are raised to it.

    Of all ``Σ ⪰ floor · I`` that is the one of the largest Gaussian likelihood.

    Args:
      covariance: symmetric, ``[..., d, d]``.
      floor: the least eigenvalue; at least the rounding of the largest.
    """

    # Under vmap, where a condition would become both of its branches, the batch is one more leading axis.
    @jax.custom_batching.custom_vmap
    def factors(covariance: Array) -> Array:
        return _floored(covariance, floor)

    @factors.def_vmap
    def _(size: int, batched: list[bool], covariance: Array) -> tuple[Array, bool]:
        del size
        return factors(covariance), batched[0]

    return factors(covariance)


def _floored(covariance: Array, floor: float) -> Array:
    size = covariance.shape[-1]
    identity = jnp.broadcast_to(jnp.eye(size, dtype=covariance.dtype), covariance.shape)
    factor = jnp.linalg.cholesky(covariance)
    bad = jnp.any(jnp.isnan(factor), axis=(-2, -1))
    if floor > 0:
        # A matrix has its eigenvalues above the floor if what is left without it has a factor.
        bad = jnp.any(jnp.isnan(jnp.linalg.cholesky(covariance - floor * identity)), axis=(-2, -1))

    def raised() -> Array:
        values, vectors = jnp.linalg.eigh(covariance)
        rounding = 10 * size * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axis=-1, keepdims=True)
        values = jnp.maximum(values, jnp.maximum(rounding, jnp.asarray(max(floor, 1e-30), values.dtype)))
        rebuilt = jnp.linalg.cholesky(jnp.einsum("...ij,...j,...kj->...ik", vectors, values, vectors))
        return jnp.where(bad[..., None, None], rebuilt, factor)

    return jax.lax.cond(jnp.any(bad), raised, lambda: factor)
