"""Covariances that stay positive definite."""

from __future__ import annotations

__all__ = ["ROUNDING", "floored_cholesky", "multiplied"]

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.core.types import Array

ROUNDING = 10.0
"""How many epsilons of the dtype, times the variance of all data, a variance is at least."""


def multiplied(scale_tril: ArrayLike) -> np.ndarray:
    """Return the covariances ``L Lᵀ`` of Cholesky factors ``[..., d, d]``, in float64 on the host."""
    factor = np.tril(np.asarray(scale_tril, np.float64))
    return factor @ np.swapaxes(factor, -1, -2)


def floored_cholesky(covariance: Array, floor: float, matrix: Array) -> Array:
    """Return the Cholesky factors of the best covariances ``Σ ⪰ M`` of whitened data.

    M is the floor in whitened coordinates, ``floor · A Aᵀ``, raised where that is below the rounding of the data: with
    the eigenvectors V and eigenvalues D of ``A Aᵀ``, ``M = V max(floor · D, 10 ε) Vᵀ``. Of all ``Σ ⪰ M`` that of the
    largest Gaussian likelihood has the eigenvalues of ``M^−½ S M^−½`` that are below 1 raised to 1. M is the same for
    every S, so that EM, whose M steps are then maxima over one set, never lowers the likelihood.

    Args:
      covariance: S, symmetric, of whitened data, ``[..., d, d]``.
      floor: the least eigenvalue in squared units of the data.
      matrix: A, what whitens the data, ``[d, d]``.
    """

    # Under vmap, where a condition would become both of its branches, the batch is one more leading axis.
    @jax.custom_batching.custom_vmap
    def factors(covariance: Array, matrix: Array) -> Array:
        return _floored(covariance, floor, matrix)

    @factors.def_vmap
    def _(size: int, batched: list[bool], *matrices: Array) -> tuple[Array, bool]:
        each = (
            matrix if has else jnp.broadcast_to(matrix, (size, *matrix.shape))
            for matrix, has in zip(matrices, batched, strict=True)
        )
        return factors(*each), True

    return factors(covariance, jnp.broadcast_to(matrix, covariance.shape))


def _floored(covariance: Array, floor: float, matrix: Array) -> Array:
    rounding = ROUNDING * float(jnp.finfo(covariance.dtype).eps)
    identity = jnp.broadcast_to(jnp.eye(covariance.shape[-1], dtype=covariance.dtype), covariance.shape)
    squared = matrix @ jnp.swapaxes(matrix, -1, -2)
    # A matrix is above another if what is left without it has a factor; the sum of both floors is above M. One call
    # for both: jaxlib splits each over XLA's CPU threads, and on two threads two calls wait for each other for ever.
    above = covariance - floor * squared - rounding * identity
    factor, left = jnp.linalg.cholesky(jnp.stack([covariance, above]))
    bad = jnp.any(jnp.isnan(left), axis=(-2, -1))

    def raised() -> Array:
        sizes, axes = jnp.linalg.eigh(squared)
        root = jnp.sqrt(jnp.maximum(floor * sizes, rounding))[..., None, :]
        to = axes / root
        values, vectors = jnp.linalg.eigh(jnp.swapaxes(to, -1, -2) @ covariance @ to)
        half = (axes * root) @ (vectors * jnp.sqrt(jnp.maximum(values, 1))[..., None, :])
        # Σ = half halfᵀ, and the transposed R of a QR decomposition is its Cholesky factor but for signs.
        upper = jnp.linalg.qr(jnp.swapaxes(half, -1, -2), mode="r")
        signs = jnp.where(jnp.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0).astype(upper.dtype)
        rebuilt = jnp.swapaxes(upper * signs[..., None], -1, -2)
        return jnp.where(bad[..., None, None], rebuilt, factor)

    return jax.lax.cond(jnp.any(bad), raised, lambda: factor)
