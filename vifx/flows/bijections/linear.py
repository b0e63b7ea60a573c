"""The invertible dense map of the channels, by its triangular factors."""

from __future__ import annotations

__all__ = ["linear"]

import math
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import lu

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def linear(*, weight: Any = None) -> Bijection:
    """Mix the channels (the last axis): ``z = W x`` with ``W = P L U``, the invertible 1×1 convolution of images.

    ``L`` is lower triangular with a unit diagonal and ``U`` upper triangular. The permutation ``P`` and the signs of
    ``diag U`` are fixed when it is initialized, and are state; so ``W`` cannot become singular, and

    ``log|det ∂z/∂x| = positions · Σ_i log|U_ii|`` in nats, with height · width positions for images, one for vectors.

    The one parameter ``"factors"``, ``[channels, channels]``, has ``L`` below its diagonal, ``U`` above it and
    ``log|U_ii|`` on it. The inverse is a product with ``U⁻¹ L⁻¹ P^T``, as fast as the forward map.

    Args:
      weight: where to start, ``[channels, channels]``; None for a random rotation.

    Raises:
      ValueError: `weight` is not a square matrix, not finite or singular; from `init`, it is not of the data's size.

    Reference: Kingma & Dhariwal (2018), arXiv:1807.03039.

    >>> import jax, jax.numpy as jnp
    >>> bijection = linear(weight=[[0.0, 2.0], [3.0, 0.0]])
    >>> params, state = bijection.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> z, log_det = bijection.forward(params, state, jnp.array([[1.0, 10.0]]))
    >>> print(z, jnp.exp(log_det))
    [[20.  3.]] [6.]
    """
    start = None if weight is None else _checked_weight(np.asarray(weight, np.float64))

    def init(key: Key, x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        channels = x.shape[-1]
        if start is not None and start.shape[0] != channels:
            raise ValueError(
                f"linear: weight is {list(start.shape)}, but the data {list(x.shape)} have {channels} channels; give "
                "a matrix of the size of the last axis."
            )
        matrix = _rotation(key, channels, x.dtype) if start is None else jnp.asarray(start, x.dtype)
        both, _, order = lu(matrix)  # matrix[order] = L U
        diagonal = jnp.diagonal(both)
        factors = both - jnp.diag(diagonal) + jnp.diag(jnp.log(jnp.abs(diagonal)))
        permutation = jnp.eye(channels, dtype=x.dtype)[order].T
        return {"factors": factors}, {"permutation": permutation, "sign": jnp.sign(diagonal)}

    def forward(params: PyTree, state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        lower, upper = _triangles(params, state)
        matrix = _product(state["permutation"], lower, upper)
        return _product(x, matrix.T), _log_det(params, x)

    def inverse(params: PyTree, state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        lower, upper = _triangles(params, state)
        matrix = _product(state["permutation"], _triangular_inverse(lower).T, _triangular_inverse(upper.T))
        return _product(z, matrix), -_log_det(params, z)

    return checked("linear", init, forward, inverse)


def _triangles(params: PyTree, state: PyTree) -> tuple[Array, Array]:
    factors = params["factors"]
    lower = jnp.tril(factors, -1) + jnp.eye(factors.shape[0], dtype=factors.dtype)
    return lower, jnp.triu(factors, 1) + jnp.diag(state["sign"] * jnp.exp(jnp.diagonal(factors)))


def _triangular_inverse(lower: Array) -> Array:
    """Invert diagonal blocks of 1, 2, 4, … rows: ``[[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹BA⁻¹, C⁻¹]]`` for each pair.

    A few products of small matrices: a triangular solve calls a library that starts threads on CPUs, and is slow on
    accelerators.
    """
    size = lower.shape[0]
    inverse = jnp.diag(1 / jnp.diagonal(lower))
    for block in (1 << level for level in range((size - 1).bit_length())):
        index = np.arange(size) // block
        below = (index[:, None] // 2 == index[None] // 2) & (index[:, None] > index[None])
        inverse = inverse - _product(inverse, jnp.where(below, lower, 0), inverse)
    return inverse


def _product(*matrices: Array) -> Array:
    """The matrix product in full precision, which accelerators do not use by default: round trips need it."""
    return reduce(partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST), matrices)


def _log_det(params: PyTree, x: Array) -> Array:
    return jnp.broadcast_to(math.prod(x.shape[1:-1]) * jnp.trace(params["factors"]), x.shape[:1])


def _rotation(key: Key, channels: int, dtype: Any) -> Array:
    orthogonal, upper = jnp.linalg.qr(jax.random.normal(key, (channels, channels), dtype))
    orthogonal = orthogonal * jnp.sign(jnp.diagonal(upper))[None]  # uniform over orthogonal matrices
    flip = jnp.sign(jnp.linalg.det(orthogonal))
    return orthogonal.at[:, 0].multiply(flip)


def _checked_weight(weight: np.ndarray) -> np.ndarray:
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"linear: weight must be a square matrix [channels, channels], got {list(weight.shape)}.")
    if not np.isfinite(weight).all():
        raise ValueError("linear: weight has entries that are not finite; a bijection needs an invertible matrix.")
    singular = np.linalg.svd(weight, compute_uv=False)
    if singular[-1] <= len(weight) * np.finfo(np.float32).eps * singular[0]:
        raise ValueError(
            f"linear: weight is singular (its singular values are from {singular[-1]:.3g} to {singular[0]:.3g}); a "
            "bijection needs an invertible matrix, such as a rotation (weight=None)."
        )
    return weight
