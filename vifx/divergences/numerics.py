"""Elementwise functions that neither overflow nor lose their gradient."""

from __future__ import annotations

__all__ = ["EXPONENT_MARGIN", "defined_where", "expm1", "log1m_exp", "log_wright_omega", "within_range"]

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vifx.types import Array

EXPONENT_MARGIN = 8.0
"""Exponents are exact up to ``c = log(largest float) − 8``: 80.7 in single, 701.8 in double precision."""

NEWTON_STEPS = 8  # from the starts below, the sixth no longer changes a double


def within_range(exponent: Array, *, rise: float = 0.0, fall: float = 0.0) -> Array:
    """Return s(ℓ), equal to ℓ where ``e^{rise·ℓ}`` and ``e^{−fall·ℓ}`` are representable, slower beyond.

    Above ``L = c/rise``, ``s = L + log(1 + log(1 + rise (ℓ − L)))/rise``, so that the exponential goes on as
    ``e^{rise·s} = e^c (1 + log(1 + rise·ℓ − c))``: continuous with its slope, strictly increasing, without
    bound, finite. Below ``−c/fall`` alike. A factor above one lowers c by its logarithm, for the gradient's sake.

    Args:
      exponent: ℓ, any shape, a float type.
      rise: the largest factor of ℓ in an exponential, 0 if there is none.
      fall: the largest factor of −ℓ in an exponential, 0 if there is none.
    """
    exponent = jnp.asarray(exponent)
    result = exponent
    for factor, side in ((rise, 1.0), (fall, -1.0)):
        if factor > 0:
            edge = _largest_exponent(exponent.dtype, factor) / factor
            outside = side * exponent > edge
            # Not `maximum`: the gradient of the inner branch divides by the factor, and must not see 0 · ∞.
            beyond = jnp.where(outside, side * exponent - edge, 0)
            result = jnp.where(outside, side * (edge + jnp.log1p(jnp.log1p(factor * beyond)) / factor), result)
    return result


def _largest_exponent(dtype: jnp.dtype, factor: float) -> float:
    """c, less the logarithm of a factor above one, by which a gradient is multiplied."""
    return math.log(float(jnp.finfo(dtype).max)) - EXPONENT_MARGIN - max(math.log(factor), 0.0)


def defined_where(condition: Array, function: Callable[[Array], Array], value: Array, *, safe: float) -> Array:
    """Return ``function(value)`` where the condition holds, else infinity, with a gradient free of NaN.

    Args:
      condition: where `value` is in the domain of the function, same shape.
      function: elementwise.
      value: any shape.
      safe: a point of the domain.
    """
    return jnp.where(condition, function(jnp.where(condition, value, safe)), jnp.inf)


@jax.custom_jvp
def expm1(value: Array) -> Array:
    """Return ``e^x − 1`` with the derivative ``e^x``, not ``(e^x − 1) + 1``, which rounds to zero at small e^x."""
    return jnp.expm1(value)


@expm1.defjvp
def _exponential(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return expm1(primals[0]), jnp.exp(primals[0]) * tangents[0]


def log1m_exp(value: Array) -> Array:
    """Return ``log(1 − e^{−x})`` for x > 0, exact for small and for large x."""
    small = value < math.log(2)
    near, far = jnp.where(small, value, 1), jnp.where(small, 1, value)
    return jnp.where(small, jnp.log(-jnp.expm1(-near)), jnp.log1p(-jnp.exp(-far)))


@jax.custom_jvp
def log_wright_omega(value: Array) -> Array:
    """Return the logarithm of Lambert's ``W(e^x)``: the λ with ``λ + e^λ = x``, for every x.

    Newton's method in the log domain, where nothing overflows. The left side is convex and increasing, and the
    start, ``log x`` above 1 and x below, lies right of the root, so the iterates fall monotonically. The derivative is
    implicit, ``dλ/dx = 1/(1 + e^λ)``, and can itself be differentiated.

    Reference: Corless and Jeffrey, The Wright ω function, 2002.
    """
    root = jnp.where(value > 1, jnp.log(jnp.maximum(value, 1)), value)
    for _ in range(NEWTON_STEPS):
        power = jnp.exp(root)
        root = root - (root + power - value) / (1 + power)
    return root


@log_wright_omega.defjvp
def _implicit(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    root = log_wright_omega(primals[0])
    return root, jax.nn.sigmoid(-root) * tangents[0]
