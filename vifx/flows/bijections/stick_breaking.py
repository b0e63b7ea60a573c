"""Stick breaking, back from shares and from correlations, and its log-determinants, without cancellation."""

from __future__ import annotations

__all__ = ["broken", "broken_log_det", "correlation_log_det", "of_correlation_cholesky"]

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array
from vifx.flows.bijections.squashing import log_slope_of_tanh


def broken(shares: Array) -> Array:
    """Return the unconstrained numbers of shares, ``[..., k] -> [..., k - 1]``, as NumPyro's stick breaking has them.

    ``z_i = log x_i − log(x_{i+1} + … + x_k) + log(k − i)``. NumPyro takes what is left of the stick as 1 minus the
    shares before, of which single precision keeps no digit once it is below 1e-7; here it is the sum of the shares
    behind.
    """
    behind = jnp.flip(jnp.cumsum(jnp.flip(shares[..., 1:], -1), axis=-1), -1)
    first = shares[..., :-1]
    return jnp.log(first) - jnp.log(behind) + _offset(first)


def broken_log_det(z: Array) -> Array:
    """Return ``log|det ∂(x_1, …, x_{k−1})/∂z|`` in nats, as a function of z alone, finite however small shares are.

    ``Σ_i [log σ(u_i) + (k − i) log σ(−u_i)]`` with ``u_i = z_i − log(k − i)``.
    """
    shifted, times = z - _offset(z), jnp.arange(z.shape[-1], 0, -1).astype(z.dtype)
    return jnp.sum(jax.nn.log_sigmoid(shifted) + times * jax.nn.log_sigmoid(-shifted), axis=-1)


def of_correlation_cholesky(factor: Array) -> Array:
    """Return the unconstrained numbers of Cholesky factors of correlation matrices, ``[..., k, k] -> [..., k(k−1)/2]``.

    ``z_ij = arsinh(L_ij / √(L_{i,j+1}² + … + L_ii²))`` below the diagonal, row by row, which is ``artanh`` of NumPyro's
    quotient: rows have norm 1. NumPyro takes what is left of a row as 1 minus the squares before.
    """
    behind = jnp.flip(jnp.cumsum(jnp.flip(factor[..., 1:] ** 2, -1), axis=-1), -1)
    rows, columns = np.tril_indices(factor.shape[-1], -1)
    return jnp.arcsinh(factor[..., rows, columns] / jnp.sqrt(behind[..., rows, columns]))


def correlation_log_det(z: Array, *, matrix: bool) -> Array:
    """Return ``log|det|`` in nats of the map to the elements below the diagonal, as a function of z alone.

    ``L_ij = tanh(z_ij) Π_{l<j} sech(z_il)``, so that each ``log sech z_ij`` counts ``i − j + 1`` times, and of the
    matrix ``L Lᵀ`` ``k + 1 − j`` times, with i and j from 1.

    Args:
      z: ``[..., k(k−1)/2]``.
      matrix: whether the map goes to the correlation matrix itself, and not to its Cholesky factor.
    """
    size = round((1 + (1 + 8 * z.shape[-1]) ** 0.5) / 2)
    rows, columns = np.tril_indices(size, -1)
    times = size - columns if matrix else rows - columns + 1
    return jnp.sum(0.5 * jnp.asarray(times, z.dtype) * log_slope_of_tanh(z), axis=-1)


def _offset(z: Array) -> Array:
    return jnp.log(jnp.arange(z.shape[-1], 0, -1).astype(z.dtype))
