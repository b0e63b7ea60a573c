"""Elementwise functions that neither overflow nor lose their gradient."""

from __future__ import annotations

__all__ = [
    "EXPONENT_MARGIN",
    "around_zero",
    "at_ends",
    "bounded",
    "defined_where",
    "expm1",
    "log1m_exp",
    "log_wright_omega",
    "within_range",
]

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.core.types import Array

EXPONENT_MARGIN = 8.0
"""Exponents are exact up to ``c = log(largest float) − 8``: 80.7 in single, 701.8 in double precision."""

NEWTON_STEPS = 8  # from the start below, a double no longer changes after five


def within_range(exponent: Array, *, rise: float = 0.0, fall: float = 0.0, times: float = 1.0) -> Array:
    """Return s(ℓ), equal to ℓ where ``e^{rise·ℓ}`` and ``e^{−fall·ℓ}`` are representable, slower beyond.

    Above ``L = c/rise``, ``s = L + log(1 + log(1 + rise (ℓ − L)))/rise``, so that the exponential goes on as
    ``e^{rise·s} = e^c (1 + log(1 + rise·ℓ − c))``: continuous with its slope, strictly increasing, without
    bound, finite. Below ``−c/fall`` alike. A factor above one lowers c by its logarithm, for the gradient's sake, and
    so does a number that the exponential is multiplied by.

    Args:
      rise: the largest factor of ℓ in an exponential, 0 if there is none.
      fall: the largest factor of −ℓ in an exponential, 0 if there is none.
      times: the largest number that an exponential is multiplied by.
    """
    exponent = jnp.asarray(exponent)
    result = exponent
    for factor, side in ((rise, 1.0), (fall, -1.0)):
        if factor > 0:
            edge = _largest_exponent(exponent.dtype, factor, times) / factor
            outside = side * exponent > edge
            # Not `maximum`: the gradient of the inner branch divides by the factor, and must not see 0 · ∞.
            beyond = jnp.where(outside, side * exponent - edge, 0)
            # log(1 + factor · beyond), whose product may overflow
            grown = jnp.log(beyond + 1 / factor) + math.log(factor) if factor > 1 else jnp.log1p(factor * beyond)
            result = jnp.where(outside, side * (edge + jnp.log1p(grown) / factor), result)
    return result


def bounded(ratio: Array, low: float, high: float) -> Array:
    """Return ℓ between two bounds, ``high + x/(1 + x)`` with ``x = ℓ − high`` above, and likewise below.

    At ±∞ it is 0, for `at_ends` to replace.
    """
    ratio = jnp.where(jnp.isinf(ratio), 0, ratio)
    above, below = jnp.maximum(ratio - high, 0), jnp.maximum(low - ratio, 0)
    return jnp.clip(ratio, low, high) + (1 - 1 / (1 + above)) - (1 - 1 / (1 + below))


def at_ends(ratio: Array, value: Array, ends: tuple[float, float]) -> Array:
    """Return a value, replaced by its limits where the argument is −∞ or ∞."""
    return jnp.where(jnp.isinf(ratio), jnp.where(ratio > 0, ends[1], ends[0]), value)


def around_zero(ratio: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Return bounds for `bounded`, between which, and one nat beyond, all points are good.

    Args:
      ratio: an odd number of points, increasing, of which the middle one is 0.
    """
    middle = len(ratio) // 2
    low, high = (
        len(side) - 1 if np.all(side) else max(int(np.argmin(side)) - 1, 0)
        for side in (good[middle::-1], good[middle:])
    )
    return min(float(ratio[middle - low]) + 1, 0.0), max(float(ratio[middle + high]) - 1, 0.0)


def _largest_exponent(dtype: jnp.dtype, factor: float, times: float) -> float:
    """c, less the logarithms of what is above one: the factor, that a gradient is multiplied by, and `times`."""
    largest = math.log(float(jnp.finfo(dtype).max)) - EXPONENT_MARGIN
    return largest - max(math.log(factor), 0.0) - max(math.log(times), 0.0)


def defined_where(condition: Array, function: Callable[[Array], Array], value: Array, *, safe: float) -> Array:
    """Return ``function(value)`` where the condition holds, else infinity, with a gradient free of NaN.

    Args:
      condition: where `value` is in the domain of the function, same shape.
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
    start = jnp.where(value > 1, jnp.log(jnp.maximum(value, 1)), value)
    # λ is log x to rounding where x is large, and e^λ may overflow there.
    large = value > jnp.finfo(value.dtype).max ** 0.5
    root, value = (jnp.where(large, 0, each) for each in (start, value))
    for _ in range(NEWTON_STEPS):
        power = jnp.exp(root)
        root = root - (root + power - value) / (1 + power)
    return jnp.where(large, start, root)


@log_wright_omega.defjvp
def _implicit(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    root = log_wright_omega(primals[0])
    return root, jax.nn.sigmoid(-root) * tangents[0]
