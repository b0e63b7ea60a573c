"""Probabilistic principal component analysis and its mixtures."""

from __future__ import annotations

__all__ = ["ppca"]

from collections.abc import Sequence

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.em.families.low_rank import low_rank
from vifx.em.family import Family


def ppca(states: int | Sequence[int], *, latent: int, floor: float = 1e-6) -> Family:
    """``x = W_s u + μ_s + ε`` with ``u ~ N(0, I)`` and ``ε ~ N(0, σ_s² I)``: principal components with a density.

    With u integrated out, ``N(x; μ_s, W_s W_sᵀ + σ_s² I)``. The M step is the exact maximum: with eigenvalues
    ``λ₁ ≥ … ≥ λ_d`` and eigenvectors U of the weighted covariance, σ² is the mean of the ``d − latent`` least, and
    ``W = U (Λ − σ² I)^½`` of the others.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      latent: the number of components, less than the number of features.
      floor: the least σ², in squared units of the data.

    Returns:
      A family with parameters ``mean [states, d]``, ``loadings [states, d, latent]``, columns by increasing
      eigenvalue, and ``scale [states]``, which is σ. See `latent_posterior`.

    Raises:
      ValueError: a number is out of range, or at initialization `latent` is not less than the features.

    References:
      Tipping & Bishop (1999), Probabilistic principal component analysis; and the same, Mixtures of probabilistic
      principal component analysers.
    """

    def maximizer(covariance: Array, least: Array, loadings: Array, scale: Array) -> tuple[Array, Array]:
        del loadings, scale
        values, vectors = jnp.linalg.eigh(covariance)
        noise = jnp.maximum(jnp.mean(values[:, :-latent], axis=1), jnp.max(least))
        gains = jnp.sqrt(jnp.maximum(values[:, -latent:] - noise[:, None], 0))
        return vectors[:, :, -latent:] * gains[:, None, :], jnp.sqrt(noise)

    return low_rank("ppca", states, latent, floor, maximizer, isotropic=True)
