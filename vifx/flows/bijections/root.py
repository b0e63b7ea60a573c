"""The root of an increasing function, with its derivatives."""

from __future__ import annotations

__all__ = ["increasing_root"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array


def increasing_root(function: Callable[[Array], Array], lower: Array, upper: Array) -> Array:
    """Return where an elementwise increasing function is zero, to the rounding of that function.

    Bisection, three rounds more than the significand has bits, finds it to the precision of the interval, and two
    steps of Newton's method within what remains find it to its own. Derivatives of every order, forward and reverse,
    are those of the implicit function theorem, ``∂a = −∂F / F′(a)``, at the root that was found.

    Args:
      function: of an array to one of its shape, each element of its own; what it closes over may be differentiated.
      lower: where it is at most zero; constant for differentiation.
      upper: where it is at least zero; constant for differentiation.
    """
    lower, upper = jax.lax.stop_gradient((lower, upper))
    rounds = jnp.finfo(lower.dtype).nmant + 3

    def solve(function: Callable[[Array], Array], _guess: Array) -> Array:

        def halve(_: Any, interval: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = interval
            middle = 0.5 * (low + high)
            below = function(middle) < 0
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, rounds, halve, (lower, upper))
        root = 0.5 * (low + high)
        for _ in range(2):
            value, slope = jax.jvp(function, (root,), (jnp.ones_like(root),))
            step = jnp.where(slope > 0, value / jnp.where(slope > 0, slope, 1), 0)
            root = jnp.clip(root - step, low, high)
        return root

    def divide(slope: Callable[[Array], Array], y: Array) -> Array:
        return y / slope(jnp.ones_like(y))

    return jax.lax.custom_root(function, lower, solve, divide)
