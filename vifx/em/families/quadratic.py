"""What squared distances as products of features and natural parameters need, whatever the form of the covariance."""

from __future__ import annotations

__all__ = ["best_mean", "inverse_factor", "safe_counts", "vectors", "white_prior"]

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array
from vifx.em.families.normal_inverse_wishart import NormalInverseWishart, WhitePrior, whitened
from vifx.em.families.whitening import Whitening


def vectors(name: str, value: Array) -> Array:
    """Return values as vectors in floating point, ``[examples, d]``.

    Args:
      value: ``[examples, d]``.

    Raises:
      ValueError: the values have another number of axes.
    """
    if value.ndim != 2:
        fix = (
            "numbers are vectors of one, x[:, None]"
            if value.ndim == 1
            else ("flatten images, and wrap the family in em.each_step for sequences")
        )
        raise ValueError(f"{name}: values must be vectors [examples, d], got shape {list(value.shape)}; {fix}.")
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))


def inverse_factor(matrix: Array) -> Array:
    """Return the inverse of a lower triangular matrix."""
    return solve_triangular(matrix, jnp.eye(matrix.shape[0], dtype=matrix.dtype), lower=True)


def white_prior(prior: NormalInverseWishart | None, state: Whitening, kind: str, states: int) -> WhitePrior:
    """Return the prior in whitened coordinates, or one that adds nothing."""
    if prior is not None:
        return whitened(prior, state, kind, states)
    size = state.shift.shape[0]
    zeros = jnp.zeros(size, state.shift.dtype)
    return WhitePrior(0.0, 0.0, zeros, jnp.zeros((size, size), zeros.dtype) if kind in ("full", "tied") else zeros)


def best_mean(sums: Array, weights: Array, prior: WhitePrior) -> tuple[Array, Array, Array]:
    """Return means in whitened coordinates, their weights, and which states anything belongs to."""
    safe, seen = safe_counts(weights)
    pulled = sums + jnp.broadcast_to(prior.confidence * prior.mean, sums.shape)
    return pulled / safe[:, None], safe, seen


def safe_counts(counts: Array) -> tuple[Array, Array]:
    """Return counts that are safe to divide by, and which ones anything belongs to."""
    seen = counts > 10 * jnp.finfo(counts.dtype).eps
    return jnp.where(seen, counts, 1), seen
