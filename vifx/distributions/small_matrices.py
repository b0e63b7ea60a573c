"""Many small matrices at once: products, and square roots of sums of squares that never form the squares.

Where the dimensions are at most eight, everything is written out in elementwise operations, which a compiler fuses;
libraries of linear algebra cost a call a matrix.
"""

from __future__ import annotations

__all__ = [
    "added",
    "lower_triangular",
    "orthonormal_rows",
    "product",
    "squared_norm",
    "times",
    "transposed",
    "triangular_and_unit",
    "triangular_inverse",
]

from functools import reduce
from operator import add

import jax.numpy as jnp
from jax.lax import Precision
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array

_WRITTEN_OUT = 8


def transposed(matrix: Array) -> Array:
    """Return ``Aᵀ`` of matrices ``[..., n, m]``."""
    return jnp.swapaxes(matrix, -1, -2)


def product(left: Array, right: Array) -> Array:
    """Return the products of matrices ``[..., n, k]`` with ``[..., k, m]``; axes of one are broadcast."""
    if left.shape[-1] > _WRITTEN_OUT:
        return jnp.matmul(left, right, precision=Precision.HIGHEST)
    return reduce(add, [left[..., :, k, None] * right[..., k, None, :] for k in range(left.shape[-1])])


def times(matrix: Array, vector: Array) -> Array:
    """Return the products of matrices ``[..., n, k]`` with vectors ``[..., k]``; axes of one are broadcast."""
    if matrix.shape[-1] > _WRITTEN_OUT:
        return jnp.einsum("...ij,...j->...i", matrix, vector, precision=Precision.HIGHEST)
    return reduce(add, [matrix[..., :, k] * vector[..., k, None] for k in range(matrix.shape[-1])])


def squared_norm(values: Array, *, axes: int = 1) -> Array:
    """Return the sum of the squares over the last axes, one or two."""
    letters = "ij"[:axes]
    return jnp.einsum(f"...{letters},...{letters}->...", values, values, precision=Precision.HIGHEST)


def lower_triangular(rows: Array) -> Array:
    """Return L, lower triangular with a diagonal ≥ 0, such that ``L Lᵀ = X Xᵀ``.

    The rows of X are made orthogonal to each other one after another (modified Gram–Schmidt), or, if there are more
    than eight, by Householder's reflections. Neither forms ``X Xᵀ``, whose condition number is the square of that of X,
    so that the result is never undefined, in any precision.

    Args:
      rows: X, ``[..., n, m]`` with ``m ≥ n``.

    Returns:
      ``[..., n, n]``; a row that the rows before it span has the diagonal entry 0, up to rounding.

    Reference: Björck (1967), Solving linear least squares problems by Gram–Schmidt orthogonalization.
    """
    if rows.shape[-2] > _WRITTEN_OUT:
        upper = jnp.linalg.qr(transposed(rows), mode="r")
        return transposed(upper) * _signs(upper)[..., None, :]
    return _orthogonalized(rows, passes=1)[0]


def triangular_and_unit(rows: Array) -> tuple[Array, Array]:
    """Return L as `lower_triangular` does, and Q with ``X = L Q``, whose rows are orthonormal.

    A row of Q is 0 where the diagonal of L is.

    Args:
      rows: X, ``[..., n, m]`` with ``m ≥ n``.

    Reference: Giraud, Langou & Rozložník (2005), on orthogonalizing twice.
    """
    if rows.shape[-2] > _WRITTEN_OUT:
        unitary, upper = jnp.linalg.qr(transposed(rows))
        signs = _signs(upper)[..., None, :]
        return transposed(upper) * signs, transposed(unitary * signs)
    return _orthogonalized(rows, passes=2)


def _orthogonalized(rows: Array, *, passes: int) -> tuple[Array, Array]:
    """Return L and Q by modified Gram–Schmidt, each row made orthogonal to those before it so many times."""
    size = rows.shape[-2]
    units: list[Array] = []
    lower: list[Array] = []
    for index in range(size):
        row = rows[..., index, :]
        entries = [jnp.zeros((*row.shape[:-1], 1), row.dtype)] * index
        for _ in range(passes):
            for before, unit in enumerate(units):
                along = _dot(row, unit)
                row = row - along * unit
                entries[before] = entries[before] + along
        square = _dot(row, row)
        found = square > 0
        length = jnp.where(found, jnp.sqrt(jnp.where(found, square, 1)), 0)
        units.append(row / jnp.where(found, length, 1))
        beyond = jnp.zeros((*length.shape[:-1], size - 1 - index), rows.dtype)
        lower.append(jnp.concatenate([*entries, length, beyond], axis=-1))
    return jnp.stack(lower, axis=-2), jnp.stack(units, axis=-2)


def added(left: Array, right: Array) -> Array:
    """Return the Cholesky factor of ``X Xᵀ + Y Yᵀ``; axes of one are broadcast.

    Args:
      left: X, ``[..., n, m]``.
      right: Y, ``[..., n, k]``.
    """
    lead = jnp.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return lower_triangular(
        jnp.concatenate([jnp.broadcast_to(each, (*lead, each.shape[-1])) for each in (left, right)], axis=-1)
    )


def orthonormal_rows(rows: Array) -> Array:
    """Return Q with orthonormal rows and ``X = U Q``, where U is upper triangular with a diagonal ≥ 0.

    Args:
      rows: X, ``[..., n, m]`` with ``m ≥ n``.
    """
    return triangular_and_unit(rows[..., ::-1, :])[1][..., ::-1, :]


def triangular_inverse(scale_tril: Array) -> Array:
    """Return ``L⁻¹`` of lower triangular matrices ``[..., n, n]``."""
    size = scale_tril.shape[-1]
    identity = jnp.broadcast_to(jnp.eye(size, dtype=scale_tril.dtype), scale_tril.shape)
    if size > _WRITTEN_OUT:
        return solve_triangular(scale_tril, identity, lower=True)
    rows: list[Array] = []
    for index in range(size):
        row = identity[..., index, :]
        for before, found in enumerate(rows):
            row = row - scale_tril[..., index, before, None] * found
        rows.append(row / scale_tril[..., index, index, None])
    return jnp.stack(rows, axis=-2)


def _dot(left: Array, right: Array) -> Array:
    """Return scalar products of vectors ``[..., n]``, ``[..., 1]``."""
    return jnp.einsum("...i,...i->...", left, right, precision=Precision.HIGHEST)[..., None]


def _signs(upper: Array) -> Array:
    return jnp.where(jnp.diagonal(upper, axis1=-2, axis2=-1) < 0, -1, 1).astype(upper.dtype)
