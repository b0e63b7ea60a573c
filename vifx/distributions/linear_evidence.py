"""What is observed of the steps of a Gaussian chain, whitened by the noise of what is observed."""

from __future__ import annotations

__all__ = ["LinearEvidence", "probed", "whitened_steps"]

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array
from vifx.distributions.affine_normal import AffineNormal, masked_factor
from vifx.distributions.each_step import EachStep
from vifx.distributions.lengths import inside, possible
from vifx.distributions.small_matrices import product, triangular_inverse


class LinearEvidence(NamedTuple):
    """The log-density of what is known of each step, ``constants_t − ½ ‖values_t − matrix_t z_t‖²``, in nats.

    Attributes:
      matrix: ``[d, D]`` for all steps, ``[T, d, D]`` or ``[examples, T, d, D]``; zero for what is missing. Without an
        axis of examples, in a chain without one, their covariances are the same and computed once.
      values: ``[examples, T, d]``; zero for what is missing.
      constants: ``[examples, T]``.
    """

    matrix: Array
    values: Array
    constants: Array


def whitened_steps(residual: Array, loadings: Array, noise: Array, observed: Array | None) -> LinearEvidence:
    """Return ``x ~ N(C z + d, L Lᵀ)`` as ``L⁻¹ (x − d) ~ N(L⁻¹ C z, I)``, of the observed elements of each step alone.

    Args:
      residual: ``x − d``, ``[examples, T, d]``.
      loadings: C, ``[d, D]`` or ``[examples, T, d, D]``.
      noise: L, ``[d, d]``, or its diagonal ``[d]``.
      observed: ``[examples, T, d]``; None for all of it.
    """
    half = 0.5 * math.log(2 * math.pi)
    if observed is None and noise.ndim == 2:
        size = residual.shape[-1]
        values = solve_triangular(noise, residual.reshape(-1, size).T, lower=True).T.reshape(residual.shape)
        factor = noise if loadings.ndim == 2 else jnp.broadcast_to(noise, (*residual.shape, size))
        each = jnp.log(jnp.diagonal(noise)) + half
        matrix = solve_triangular(factor, loadings, lower=True)
        return LinearEvidence(matrix, values, jnp.broadcast_to(-jnp.sum(each), residual.shape[:2]))
    if observed is None:
        constants = jnp.broadcast_to(-jnp.sum(jnp.log(noise) + half), residual.shape[:2])
        matrix = loadings / jnp.broadcast_to(noise[:, None], loadings.shape)
        return LinearEvidence(matrix, residual / jnp.broadcast_to(noise, residual.shape), constants)
    residual = jnp.where(observed, residual, 0)
    loadings = jnp.where(observed[..., None], jnp.broadcast_to(loadings, (*residual.shape, loadings.shape[-1])), 0)
    if noise.ndim == 1:
        scale = jnp.where(observed, jnp.broadcast_to(noise, residual.shape), 1)
        constants = -jnp.sum(jnp.where(observed, jnp.log(scale) + half, 0), axis=-1)
        return LinearEvidence(loadings / scale[..., None], residual / scale, constants)
    factor = masked_factor(jnp.broadcast_to(noise, (*observed.shape, observed.shape[-1])), observed)
    both = product(triangular_inverse(factor), jnp.concatenate([loadings, residual[..., None]], axis=-1))
    each = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)) + jnp.where(observed, half, 0)
    return LinearEvidence(both[..., :-1], both[..., -1], -jnp.sum(each, axis=-1))


def probed(conditional: Any, value: Array) -> LinearEvidence:
    """Find out an emission that is affine in the steps of a chain from its values at the chain's probes.

    Args:
      conditional: the emission at zero and at the unit vectors, ``[(D + 1) × examples]`` members, probe by probe.
      value: x, ``[examples, T, d]``.

    Raises:
      ValueError: it does not promise that it is affine in one step each.
    """
    if not isinstance(conditional, EachStep) or not isinstance(conditional.each, AffineNormal):
        raise ValueError(
            "the emissions of a Gaussian chain must be affine in one step of it each, which "
            f"{type(getattr(conditional, 'each', conditional)).__name__} does not promise; use em.linear_gaussian(), "
            "or a network that returns EachStep(AffineNormal(...), length)"
        )
    each, rows = conditional.each, value.shape[0]
    loc = jnp.asarray(each.loc).reshape(-1, *value.shape)
    offset, loadings = loc[0], jnp.moveaxis(loc[1:] - jnp.broadcast_to(loc[:1], loc[1:].shape), 0, -1)
    observed = None if each.observed is None else each.observed.reshape(-1, *value.shape)[0]
    wrong = jnp.zeros(value.shape[:2], loc.dtype)
    if conditional.lengths is not None:
        lengths = conditional.lengths[:rows]
        within = jnp.broadcast_to(inside("probed", lengths, *value.shape[:2])[:, :, None], value.shape)
        observed = within if observed is None else observed & within
        wrong = wrong + jnp.broadcast_to(possible(lengths, value.shape[1])[:, None], wrong.shape).astype(wrong.dtype)
    factor = jnp.asarray(each.scale_tril)
    factor = factor.reshape(-1, *factor.shape[-2:])[0]
    found = whitened_steps(value - offset, loadings, factor, observed)
    return found._replace(constants=found.constants + wrong)
