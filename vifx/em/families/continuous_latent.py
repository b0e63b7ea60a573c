"""The continuous latent of factor analysis and probabilistic PCA: its posterior, and what it makes of an example."""

from __future__ import annotations

__all__ = ["latent_posterior", "reconstruct"]

import jax.numpy as jnp

from vifx.core.types import Array, PyTree
from vifx.distributions import MultivariateNormal


def latent_posterior(params: PyTree, x: Array) -> MultivariateNormal:
    """The posterior of u given x in every state: ``N(u; M Wᵀ Ψ⁻¹ (x − μ), M)`` with ``M = (I + Wᵀ Ψ⁻¹ W)⁻¹``.

    Args:
      params: of `factor_analysis` or `ppca`.
      x: ``[examples, d]``.

    Returns:
      A normal distribution of vectors ``[latent]`` with batch shape ``[examples, states]``: `loc` is the mean, and
      `covariance_matrix` the covariance.

    Raises:
      ValueError: `x` has another number of features.
    """
    loadings, scale, apart = _checked(params, x)
    latent = loadings.shape[-1]
    scaled = loadings / scale[:, :, None] ** 2
    identity = jnp.broadcast_to(jnp.eye(latent, dtype=loadings.dtype), (len(loadings), latent, latent))
    covariance = jnp.linalg.inv(identity + jnp.einsum("sil,sim->slm", loadings, scaled))
    mean = jnp.einsum("slm,sim,nsi->nsl", covariance, scaled, apart)
    return MultivariateNormal(mean, jnp.linalg.cholesky(covariance))


def reconstruct(params: PyTree, x: Array) -> Array:
    """Return ``μ_s + W_s E[u | x, s]``, each example as every state's factors explain it, ``[examples, states, d]``.

    Args:
      params: of `factor_analysis` or `ppca`.
      x: ``[examples, d]``.

    Raises:
      ValueError: `x` has another number of features.
    """
    mean = jnp.asarray(latent_posterior(params, x).loc)
    explained = jnp.einsum("sil,nsl->nsi", params["loadings"], mean)
    return jnp.broadcast_to(params["mean"], explained.shape) + explained


def _checked(params: PyTree, x: Array) -> tuple[Array, Array, Array]:
    mean, loadings, scale = params["mean"], params["loadings"], params["scale"]
    if x.ndim != 2 or x.shape[1] != mean.shape[1]:
        raise ValueError(f"x must be [examples, {mean.shape[1]}], as the parameters are, got shape {list(x.shape)}.")
    scale = jnp.broadcast_to(scale[:, None] if scale.ndim == 1 else scale, mean.shape)
    apart = x[:, None, :].astype(mean.dtype) - mean[None]
    return loadings, scale, apart
