"""The inverse of a residual map, with its derivatives."""

from __future__ import annotations

__all__ = ["residual_inverse"]

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array


def residual_inverse(residual: Callable[[Array], Array], z: Array, lipschitz: float) -> Array:
    """Return the rows x with ``x + g(x) = z`` by the fixed-point iteration ``x ← z − g(x)``.

    Each round multiplies the distance of successive values by at most `lipschitz`, until rounding takes over: a row
    stops where its change shrinks by less than that allows, at the latest after the rounds that reduce it by the
    square of the machine precision. Derivatives of every order, forward and reverse, are those of the implicit
    function theorem, ``∂x = (I + ∂g/∂x)⁻¹ (∂z − ∂g)``, solved by the same iteration.

    Args:
      residual: g, of rows ``[examples, elements]``, each row of its own; what it closes over may be differentiated.
    """
    rounds = math.ceil(2 * math.log(jnp.finfo(z.dtype).eps) / math.log(lipschitz))

    def solve(excess: Callable[[Array], Array], start: Array) -> Array:
        """Find the root of a map that is the identity plus a contraction plus a constant."""

        def once(carry: tuple[Array, Array, Array, Any]) -> tuple[Array, Array, Array, Any]:
            x, change, active, count = carry
            difference = excess(x)
            size = jnp.linalg.norm(difference, axis=-1)
            active = active & (size > 0) & (size <= 0.5 * (1 + lipschitz) * change)
            return jnp.where(active[:, None], x - difference, x), size, active, count + 1

        def unfinished(carry: tuple[Array, Array, Array, Any]) -> Array:
            return jnp.any(carry[2]) & (carry[3] < rounds)

        first = jnp.full(start.shape[0], jnp.inf, start.dtype)
        return jax.lax.while_loop(unfinished, once, (start, first, first > 0, 0))[0]

    def linear(matvec: Callable[[Array], Array], y: Array) -> Array:
        return solve(lambda v: matvec(v) - y, y)

    def tangent(matvec: Callable[[Array], Array], y: Array) -> Array:
        return jax.lax.custom_linear_solve(matvec, y, linear, transpose_solve=linear)

    return jax.lax.custom_root(lambda x: x + residual(x) - z, z, solve, tangent)
