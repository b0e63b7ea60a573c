"""Triangular square roots of sums of squares, without forming the squares."""

from __future__ import annotations

__all__ = ["lower_triangular", "triangular_inverse"]

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array

_WRITTEN_OUT = 8


def lower_triangular(rows: Array) -> Array:
    """Return L, lower triangular with a diagonal ≥ 0, such that ``L Lᵀ = X Xᵀ``.

    The rows of X are made orthogonal to each other one after another (modified Gram–Schmidt), or, if there are more
    than eight, by Householder's reflections. Neither forms ``X Xᵀ``, whose condition number is the square of that of X,
    so that the result is never undefined, in any precision.

    Args:
      rows: X, ``[..., n, m]`` with ``m ≥ n``.

    Returns:
      ``[..., n, n]``; a row that the rows before it span has the diagonal entry 0.

    Reference: Björck (1967), Solving linear least squares problems by Gram–Schmidt orthogonalization.
    """
    count = rows.shape[-2]
    if count > _WRITTEN_OUT:
        upper = jnp.linalg.qr(jnp.swapaxes(rows, -1, -2), mode="r")
        signs = jnp.where(jnp.diagonal(upper, axis1=-2, axis2=-1) < 0, -1, 1).astype(rows.dtype)
        return jnp.swapaxes(upper, -1, -2) * signs[..., None, :]
    columns = []
    for index in range(count):
        square = jnp.sum(rows[..., 0, :] ** 2, axis=-1, keepdims=True)
        found = square > 0
        length = jnp.where(found, jnp.sqrt(jnp.where(found, square, 1)), 0)
        unit = rows[..., 0, :] / jnp.where(found, length, 1)
        rest = rows[..., 1:, :]
        along = jnp.einsum("...ij,...j->...i", rest, unit)
        above = jnp.zeros((*length.shape[:-1], index), rows.dtype)
        columns.append(jnp.concatenate([above, length, along], axis=-1))
        rows = rest - along[..., :, None] * unit[..., None, :]
    return jnp.stack(columns, axis=-1)


def triangular_inverse(scale_tril: Array) -> Array:
    """Return ``L⁻¹`` of lower triangular matrices ``[..., n, n]``."""
    identity = jnp.eye(scale_tril.shape[-1], dtype=scale_tril.dtype)
    return solve_triangular(scale_tril, jnp.broadcast_to(identity, scale_tril.shape), lower=True)
