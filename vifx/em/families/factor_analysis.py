"""Factor analysis and its mixtures: normal distributions explained by few factors and noise of every feature."""

from __future__ import annotations

__all__ = ["factor_analysis"]

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.core.types import Array
from vifx.em.families.low_rank import expected_noise, held_of, low_rank, shrunk
from vifx.em.families.priors import InverseGamma, require_prior
from vifx.em.family import Family


def factor_analysis(
    states: int | Sequence[int],
    *,
    latent: int,
    floor: float = 1e-6,
    prior: InverseGamma | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
) -> Family:
    """``x = W_s u + μ_s + ε`` with ``u ~ N(0, I)`` and ``ε ~ N(0, Ψ_s)``, Ψ diagonal.

    With u integrated out, ``N(x; μ_s, W_s W_sᵀ + Ψ_s)``. The M step is three conditional maximizations, so that the
    objective never falls: μ is the mean; with W kept, EM's noise (Rubin & Thayer, 1982)

        ``Ψ = diag(S − 2 W β S + W E Wᵀ)``,  ``β = Wᵀ (W Wᵀ + Ψ₀)⁻¹``,  ``E = I − β W + β S βᵀ``;

    with Ψ kept, the best W of all, ``Ψ^½ V (Λ − 1)₊^½`` from the largest eigenvalues of ``Ψ^−½ S Ψ^−½`` (Lawley, 1940),
    where plain EM would take a short step. S are the covariances weighted by the responsibilities. With a `prior` the
    noise is the mode of its posterior.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      latent: the number of factors, less than the number of features.
      floor: the least variance of the noise, in squared units of the data.
      prior: of each variance of the noise; None for maximum likelihood.
      fixed: parameters that are known and do not move, by name, such as ``{"mean": m}``.

    Returns:
      A family with parameters ``mean [states, d]``, ``loadings [states, d, latent]`` and ``scale [states, d]``, the
      standard deviation of the noise. W is unique up to a rotation; see `latent_posterior`.

    Raises:
      ValueError: a number is out of range, or at initialization `latent` is not less than the features.
      TypeError: `prior` is not an `InverseGamma`.

    References:
      Ghahramani & Hinton (1996), The EM algorithm for mixtures of factor analyzers; Liu & Rubin (1998), Maximum
      likelihood estimation of factor analysis using the ECME algorithm.
    """
    own = require_prior(prior, InverseGamma, "factor_analysis")
    held = held_of("factor_analysis", states, fixed, isotropic=False)

    def maximizer(covariance: Array, counts: Array, least: Array, loadings: Array, scale: Array) -> tuple[Array, Array]:
        if "scale" not in held:
            noise = expected_noise(covariance, loadings, scale)
            noise = shrunk(own, noise, jnp.broadcast_to(counts[:, None], noise.shape))
            scale = jnp.sqrt(jnp.maximum(noise, jnp.broadcast_to(least, noise.shape)))
        if "loadings" in held:
            return loadings, scale
        outer = scale[:, :, None] * scale[:, None, :]
        values, vectors = jnp.linalg.eigh(covariance / outer)
        gains = jnp.sqrt(jnp.maximum(values[:, -latent:] - 1, 0))
        return scale[:, :, None] * vectors[:, :, -latent:] * gains[:, None, :], scale

    return low_rank("factor_analysis", states, latent, floor, maximizer, isotropic=False, prior=own, held=held)
