"""Vectors that are located and scaled by a Cholesky factor."""

from __future__ import annotations

__all__ = ["broadcast", "moved", "whitened"]

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array


def broadcast(loc: Array, scale_tril: Array, *others: Array) -> tuple[Array, ...]:
    """Return the parameters with one common batch: μ ``[*batch, d]``, L ``[*batch, d, d]`` and scalars ``[*batch]``."""
    batch = jnp.broadcast_shapes(loc.shape[:-1], scale_tril.shape[:-2], *(other.shape for other in others))
    scale_tril = jnp.broadcast_to(scale_tril, (*batch, *scale_tril.shape[-2:]))
    return jnp.broadcast_to(loc, (*batch, loc.shape[-1])), scale_tril, *(jnp.broadcast_to(x, batch) for x in others)


def moved(loc: Array, scale_tril: Array, noise: Array) -> Array:
    """Return ``μ + L ε``, of the shape of the noise."""
    return jnp.broadcast_to(loc, noise.shape) + jnp.einsum("...ij,...j->...i", scale_tril, noise)


def whitened(loc: Array, scale_tril: Array, value: Array) -> tuple[Array, Array]:
    """Return ``‖L⁻¹(x − μ)‖²`` and ``Σ_i log|L_ii|``, both ``[*batch]``, of values with the batch in front."""
    factor = jnp.broadcast_to(scale_tril, (*value.shape, value.shape[-1]))
    white = solve_triangular(factor, (value - jnp.broadcast_to(loc, value.shape))[..., None], lower=True)[..., 0]
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(factor, axis1=-2, axis2=-1))), axis=-1)
    return jnp.sum(white**2, axis=-1), log_det
