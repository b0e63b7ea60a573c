"""Conjugate priors of the noise of regressions: of each variance, or of the covariance."""

from __future__ import annotations

__all__ = ["NoisePrior", "log_noise_prior", "noise_mode", "require_noise_prior"]

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array
from vifx.em.families.priors import InverseGamma, InverseWishart, require_prior

NoisePrior: TypeAlias = InverseGamma | InverseWishart
"""The prior of a diagonal noise's variances, or of the covariance of a full one."""


def require_noise_prior(prior: NoisePrior | None, name: str, *, diagonal: bool) -> NoisePrior | None:
    """Return a prior of the noise, or None.

    Args:
      diagonal: whether the noise has variances alone.

    Raises:
      TypeError: it is another thing.
    """
    return require_prior(prior, InverseGamma, name) if diagonal else require_prior(prior, InverseWishart, name)


def noise_mode(prior: NoisePrior | None, residual: Array, count: Array, units: Array) -> Array:
    """Return the mode of the posterior of the noise; without a prior, the mean square of the residuals.

    Args:
      residual: the mean outer product of the residuals ``[..., d, d]``, or its diagonal ``[..., d]`` for variances.
      count: how many there are, a scalar, ``[...]``, or for each variance ``[..., d]``.
      units: what the data were multiplied by before the residuals were taken, ``[d]``.

    Raises:
      ValueError: the prior is one of another number of features.
    """
    if prior is None:
        return residual
    if isinstance(prior, InverseGamma):
        count = jnp.broadcast_to(count, residual.shape)
        scale = jnp.broadcast_to(prior.scale * units**2, residual.shape)
        return (count * residual + 2 * scale) / (count + 2 * (prior.shape + 1))
    size = residual.shape[-1]
    scale = _scale(prior, residual) * units[:, None] * units[None, :]
    each = count.reshape(*count.shape, 1, 1)
    total = jnp.broadcast_to(each, residual.shape)
    return (total * residual + jnp.broadcast_to(scale, residual.shape)) / (total + prior.degrees + size + 1)


def log_noise_prior(prior: NoisePrior | None, scale: Array) -> Array:
    """Return the log-density of the prior in nats, up to a constant, summed over all noises.

    Args:
      scale: standard deviations ``[..., d]`` of an inverse gamma prior, Cholesky factors ``[..., d, d]`` of the other.

    Raises:
      ValueError: the prior is one of another number of features.
    """
    if prior is None:
        return jnp.zeros((), scale.dtype)
    if isinstance(prior, InverseGamma):
        variance = scale**2
        return -jnp.sum((prior.shape + 1) * jnp.log(variance) + prior.scale / variance)
    size = scale.shape[-1]
    factor = jnp.broadcast_to(jnp.linalg.cholesky(_scale(prior, scale)), scale.shape)
    whitened = jax.scipy.linalg.solve_triangular(jnp.tril(scale), factor, lower=True)
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale, axis1=-2, axis2=-1))))
    return -(prior.degrees + size + 1) * log_det - 0.5 * jnp.sum(whitened**2)


def _scale(prior: InverseWishart, like: Array) -> Array:
    """Return Ψ, checked to have the shape of matrices ``[..., d, d]``."""
    size, found = like.shape[-1], np.shape(prior.scale)
    if found != (size, size):
        raise ValueError(
            f"InverseWishart: scale must have the shape {[size, size]} for noise of {size} features, got {list(found)}."
        )
    return jnp.asarray(prior.scale, like.dtype)
