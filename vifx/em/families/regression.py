"""Linear regressions on expected moments: the M steps of linear-Gaussian conditionals."""

from __future__ import annotations

__all__ = ["ChainMoments", "Regression", "best_blocks", "cancelled", "free_numbers", "regressors"]

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array
from vifx.em.families.covariances import ROUNDING
from vifx.em.families.held import Held


class ChainMoments(NamedTuple):
    """What is expected of the steps of Gaussian chains.

    Attributes:
      means: ``E z_t``, ``[examples, T, D]``.
      covariances: ``Cov z_t``, ``[examples, T, D, D]``.
      cross_covariances: ``Cov(z_{t+1}, z_t)``, ``[examples, T−1, D, D]``.
      weights: how much each step counts, ``[examples, T]``; 0 beyond the end of a sequence.
    """

    means: Array
    covariances: Array
    cross_covariances: Array
    weights: Array


class Regression(NamedTuple):
    """Sums over examples and steps of the moments of targets x and regressors y.

    With a full covariance of the noise the targets share the regressors' moments; with a diagonal one each target has
    its own where it is observed at other steps than the rest.

    Attributes:
      targets: ``Σ w E x xᵀ``, ``[d, d]``, or its diagonal ``[d]``.
      products: ``Σ w E x yᵀ``, ``[d, k]``.
      regressors: ``Σ w E y yᵀ``, ``[k, k]``, or for each target ``[d, k, k]``.
      count: ``Σ w``, a scalar, or for each target ``[d]``.
    """

    targets: Array
    products: Array
    regressors: Array
    count: Array


def best_blocks(
    sums: Regression, params: Mapping[str, Array], names: Sequence[str], held: Held
) -> tuple[dict[str, Array], Array]:
    """Return the coefficients of the least expected squared residual, and that residual's moment.

    ``B = (Σ E x yᵀ)(Σ E y yᵀ)⁻¹`` and ``Σ E (x − B y)(x − B y)ᵀ / Σ w``. Regressors that depend on each other share
    their effect. A target that is never observed keeps its coefficients.

    Args:
      sums: the moments.
      params: the present parameters.
      names: those that side by side are B, where there are such.
      held: the ones that keep their values.

    Returns:
      The new ones by name, and the mean outer product of the residuals ``[d, d]``, or its diagonal ``[d]``; of targets
      that are never observed it is 0.
    """
    coefficients, widths = _joined(params, names)
    free = np.concatenate([np.full(width, name not in held) for name, width in widths.items()])
    found, residual = _best(sums, coefficients, free)
    parts = jnp.split(found, np.cumsum([*widths.values()])[:-1], axis=1)
    return {name: part.reshape(params[name].shape) for name, part in zip(widths, parts, strict=True)}, residual


def cancelled(scale: Array, params: Mapping[str, Array], names: Sequence[str], sums: Regression) -> Array:
    """Return the absolute values in nats of what cancels in the squared residuals.

    Args:
      scale: the Cholesky factor of the noise, ``[d, d]``, or its diagonal ``[d]``.
      params: the parameters.
      names: those that side by side are B, where there are such.
      sums: the moments.
    """
    size = jnp.abs(_joined(params, names)[0])
    factor = scale if scale.ndim == 2 else jnp.diag(scale)
    inverse = jnp.abs(jax.scipy.linalg.cho_solve((factor, True), jnp.eye(len(factor), dtype=factor.dtype)))
    if sums.targets.ndim == 1:
        terms = sums.targets + 2 * jnp.sum(size * jnp.abs(sums.products), axis=1)
        matrices = jnp.abs(_each(sums.regressors, sums))
        return 0.5 * jnp.sum(jnp.diagonal(inverse) * (terms + jnp.einsum("dk,dkl,dl->d", size, matrices, size)))
    product = size @ jnp.abs(sums.products).T
    terms = jnp.abs(sums.targets) + product + product.T + size @ jnp.abs(sums.regressors) @ size.T
    return 0.5 * jnp.sum(inverse * terms)


def free_numbers(params: Mapping[str, Array], diagonal: Sequence[str] = ()) -> int:
    """Return how many numbers parameters have, of Cholesky factors those of a triangle.

    Args:
      params: the parameters that are not held.
      diagonal: the factors that are diagonal matrices.
    """

    def count(name: str, leaf: Array) -> int:
        size = leaf.shape[0]
        return leaf.size if not name.endswith("scale_tril") else size if name in diagonal else size * (size + 1) // 2

    return sum(count(name, leaf) for name, leaf in params.items())


def _joined(params: Mapping[str, Array], names: Sequence[str]) -> tuple[Array, dict[str, int]]:
    """Return parameters side by side, ``[d, k]``, and how many columns each has."""
    parts = {name: params[name].reshape(len(params[name]), -1) for name in names if name in params}
    return jnp.concatenate([*parts.values()], axis=1), {name: part.shape[1] for name, part in parts.items()}


def _best(sums: Regression, coefficients: Array, free: np.ndarray) -> tuple[Array, Array]:
    seen = sums.count > 10 * jnp.finfo(sums.count.dtype).eps
    if free.any():
        own, rest = np.flatnonzero(free), np.flatnonzero(~free)
        inner = sums.regressors[..., own[:, None], own]
        cross = sums.regressors[..., rest[:, None], own]
        products = sums.products[:, own] - jnp.einsum("dr,...drk->dk", coefficients[:, rest], _each(cross, sums))
        solved = _solved(_each(inner, sums), products, seen)
        kept = jnp.broadcast_to(seen[..., None], solved.shape)
        coefficients = coefficients.at[:, own].set(jnp.where(kept, solved, coefficients[:, own]))
    count = jnp.where(seen, sums.count, 1)
    if sums.targets.ndim == 1:
        fitted = jnp.einsum("dk,dkl,dl->d", coefficients, _each(sums.regressors, sums), coefficients)
        residual = (sums.targets - 2 * jnp.sum(coefficients * sums.products, axis=1) + fitted) / count
        return coefficients, jnp.where(seen, jnp.maximum(residual, 0), 0)
    product = coefficients @ sums.products.T
    fitted = coefficients @ sums.regressors @ coefficients.T
    residual = (sums.targets - product - product.T + fitted) / count
    return coefficients, jnp.where(seen, 0.5 * (residual + residual.T), 0)


def regressors(*parts: Array) -> Array:
    """Return ``y = (parts, 1)``, the means of the regressors, ``[examples, T, k]``."""
    ones = jnp.ones((*parts[0].shape[:2], 1), parts[0].dtype)
    return jnp.concatenate([*(part.astype(ones.dtype) for part in parts), ones], axis=-1)


def _each(matrices: Array, sums: Regression) -> Array:
    """Return matrices for each target, ``[d, ., .]``."""
    return jnp.broadcast_to(matrices, (len(sums.products), *matrices.shape[-2:]))


def _solved(matrices: Array, products: Array, seen: Array) -> Array:
    """Solve ``b M = p`` for each target; a trace of the identity keeps what depends on each other finite."""
    diagonal = jnp.diagonal(matrices, axis1=-2, axis2=-1)
    scale = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    size = diagonal.shape[-1]
    ridge = ROUNDING * size * float(jnp.finfo(matrices.dtype).eps)
    identity = jnp.broadcast_to(jnp.eye(size, dtype=matrices.dtype), matrices.shape)
    standard = matrices * scale[:, :, None] * scale[:, None, :]
    usable = jnp.broadcast_to(seen.reshape(-1, 1, 1), matrices.shape)
    factor = jnp.linalg.cholesky(jnp.where(usable, standard, 0) + ridge * identity)
    solved = jax.vmap(lambda factor, product: jax.scipy.linalg.cho_solve((factor, True), product))
    return solved(factor, products * scale) * scale
