"""Whitening: an affine map under which squares of data do not cancel."""

from __future__ import annotations

__all__ = ["Kind", "Whitening", "robust_whitening", "whiten", "whitening"]

from typing import Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array

Kind: TypeAlias = Literal["full", "diagonal", "scalar"]


class Whitening(NamedTuple):
    """``x′ = A (x − m)`` with A lower triangular; a network's state, never trained.

    Attributes:
      shift: m, ``[d]``.
      matrix: A, ``[d, d]``, or its diagonal ``[d]``.
    """

    shift: Array
    matrix: Array


def whitening(x: Array, kind: Kind) -> Whitening:
    """Return the map that makes data have mean 0 and variance 1.

    Args:
      x: ``[examples, d]``.
      kind: whether the covariances become the identity, the variances one each, or their mean one.
    """
    # A constant feature is its own mean, without rounding.
    shift = jnp.where(jnp.all(x == x[:1], axis=0), x[0], jnp.mean(x, axis=0))
    apart = x - shift[None]
    variance = jnp.mean(apart**2, axis=0)
    tiny = jnp.asarray(jnp.finfo(x.dtype).tiny, x.dtype)
    # A constant feature keeps its scale.
    variance = jnp.where(variance > tiny, variance, 1)
    if kind == "scalar":
        return Whitening(shift, jnp.broadcast_to(1 / jnp.sqrt(jnp.mean(variance)), shift.shape))
    scale = jnp.sqrt(variance)
    if kind == "diagonal" or x.shape[0] <= x.shape[1]:
        diagonal = 1 / scale
        return Whitening(shift, diagonal if kind == "diagonal" else jnp.diag(diagonal))
    standard = apart / scale[None]
    correlation = standard.T @ standard / x.shape[0]
    # Features that depend on each other: a little of the identity keeps the factor finite.
    ridge = jnp.asarray(jnp.sqrt(jnp.finfo(x.dtype).eps), x.dtype)
    identity = jnp.eye(x.shape[1], dtype=x.dtype)
    factor = jnp.linalg.cholesky((1 - ridge) * correlation + ridge * identity)
    return Whitening(shift, solve_triangular(factor, identity, lower=True) / scale[None])


def robust_whitening(x: Array, kind: Kind) -> Whitening:
    """Return the map that makes each feature have median 0 and the quartiles of a normal variable of variance 1.

    Far outliers do not move it, so that the bulk of the data is not crowded into what rounding can no longer tell
    apart.

    Args:
      x: ``[examples, d]``.
      kind: of matrix, as in `whitening`; one scale a feature, or their mean.
    """
    low, shift, high = jnp.quantile(x, jnp.asarray([0.25, 0.5, 0.75], x.dtype), axis=0)
    scale = (high - low) / 1.349
    usual = jnp.sqrt(jnp.mean((x - shift[None]) ** 2, axis=0))
    # Features of which more than half the values are equal; a constant one keeps its scale.
    scale = jnp.where(scale > 0, scale, jnp.where(usual > 0, usual, 1))
    if kind == "scalar":
        scale = jnp.broadcast_to(jnp.mean(scale), scale.shape)
    return Whitening(shift, jnp.diag(1 / scale) if kind == "full" else 1 / scale)


def whiten(by: Whitening, x: Array) -> Array:
    """Return ``A (x − m)``, ``[..., d]``."""
    apart = x - jnp.broadcast_to(by.shift, x.shape)
    return apart * jnp.broadcast_to(by.matrix, x.shape) if by.matrix.ndim == 1 else apart @ by.matrix.T
