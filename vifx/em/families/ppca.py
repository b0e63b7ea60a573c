"""Probabilistic principal component analysis and its mixtures."""

from __future__ import annotations

__all__ = ["ppca"]

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.core.types import Array
from vifx.em.families.low_rank import expected_noise, held_of, low_rank, shrunk
from vifx.em.families.priors import InverseGamma, require_prior
from vifx.em.family import Family


def ppca(
    states: int | Sequence[int],
    *,
    latent: int,
    floor: float = 1e-6,
    prior: InverseGamma | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
) -> Family:
    """``x = W_s u + μ_s + ε`` with ``u ~ N(0, I)`` and ``ε ~ N(0, σ_s² I)``: principal components with a density.

    With u integrated out, ``N(x; μ_s, W_s W_sᵀ + σ_s² I)``. The M step is the exact maximum: with eigenvalues
    ``λ₁ ≥ … ≥ λ_d`` and eigenvectors U of the weighted covariance, σ² is the mean of the ``d − latent`` least, and
    ``W = U (Λ − σ² I)₊^½`` of the others. With a `prior` of σ² it is the exact maximum a posteriori: the least of
    ``σ² = (n Σ_{i>j} λ_i + 2b) / (n (d − j) + 2a + 2)`` over j from 0 to `latent`. With known loadings, σ² is EM's.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      latent: the number of components, less than the number of features.
      floor: the least σ², in squared units of the data.
      prior: of σ², a its shape and b its scale; None for maximum likelihood.
      fixed: parameters that are known and do not move, by name, such as ``{"mean": m}``.

    Returns:
      A family with parameters ``mean [states, d]``, ``loadings [states, d, latent]``, columns by increasing
      eigenvalue, and ``scale [states]``, which is σ. See `latent_posterior`.

    Raises:
      ValueError: a number is out of range, or at initialization `latent` is not less than the features.
      TypeError: `prior` is not an `InverseGamma`.

    References:
      Tipping & Bishop (1999), Probabilistic principal component analysis; and the same, Mixtures of probabilistic
      principal component analysers.
    """
    own = require_prior(prior, InverseGamma, "ppca")
    held = held_of("ppca", states, fixed, isotropic=True)

    def maximizer(covariance: Array, counts: Array, least: Array, loadings: Array, scale: Array) -> tuple[Array, Array]:
        if "loadings" in held:
            if "scale" in held:
                return loadings, scale
            each = jnp.broadcast_to(scale[:, None], loadings.shape[:2])
            noise = jnp.mean(expected_noise(covariance, loadings, each), axis=1)
            noise = shrunk(own, noise, counts * loadings.shape[1])
            return loadings, jnp.sqrt(jnp.maximum(noise, jnp.max(least)))
        values, vectors = jnp.linalg.eigh(covariance)
        noise = scale**2 if "scale" in held else jnp.maximum(_best_noise(own, values, counts, latent), jnp.max(least))
        gains = jnp.sqrt(jnp.maximum(values[:, -latent:] - noise[:, None], 0))
        return vectors[:, :, -latent:] * gains[:, None, :], scale if "scale" in held else jnp.sqrt(noise)

    return low_rank("ppca", states, latent, floor, maximizer, isotropic=True, prior=own, held=held)


def _best_noise(prior: InverseGamma | None, values: Array, counts: Array, latent: int) -> Array:
    """Return σ², ``[states]``, of the eigenvalues of covariances ``[states, d]``, increasing.

    The derivative of the log posterior by σ² falls in it, and is the least of those for which j eigenvalues are above
    σ², j from 0 to `latent`; its root is the least of theirs.
    """
    size = values.shape[1]
    if prior is None:
        return jnp.mean(values[:, :-latent], axis=1)
    rest = size - jnp.arange(latent + 1)
    sums = jnp.cumsum(values, axis=1)[:, rest - 1]
    weights = counts[:, None] * jnp.broadcast_to(rest.astype(values.dtype), sums.shape)
    each = (counts[:, None] * sums + 2 * prior.scale) / (weights + 2 * (prior.shape + 1))
    return jnp.min(each, axis=1)
