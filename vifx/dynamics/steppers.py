"""One step of a differential equation: the methods of Euler, of the midpoint, of Heun, and of Runge and Kutta."""

from __future__ import annotations

__all__ = ["METHODS", "Field", "Stepper", "euler", "heun", "midpoint", "rk4"]

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from vifx.core.types import Array, PyTree

Field: TypeAlias = Callable[[PyTree, Any], PyTree]
"""``f(x, t)``: the derivative ``dx/dt``, of the structure and the shapes of x."""
Stepper: TypeAlias = Callable[[Field, PyTree, Any, Any], PyTree]
"""``(f, x, t, length) -> x(t + length)``."""


def euler(f: Field, x: PyTree, t: Any, length: Any) -> PyTree:
    """Return ``x + h f(x, t)``: the error of a path is of order h.

    Args:
      f: ``f(x, t) -> dx/dt``.
      x: one array or a tree of them; ``[examples, *event]`` if `t` and `length` are ``[examples, 1]``.
      t: the time at the start of the step: a scalar, or ``[examples, 1]``.
      length: h, the length of the step, likewise; a negative one goes back in time.
    """
    return _moved(x, length, f(x, t))


def midpoint(f: Field, x: PyTree, t: Any, length: Any) -> PyTree:
    """Return ``x + h f(x + h/2 f(x, t), t + h/2)``: the error of a path is of order h².

    Args:
      f: ``f(x, t) -> dx/dt``.
      x: as in `euler`.
      t: the time at the start of the step.
      length: h, the length of the step.
    """
    half = 0.5 * length
    return _moved(x, length, f(_moved(x, half, f(x, t)), t + half))


def heun(f: Field, x: PyTree, t: Any, length: Any) -> PyTree:
    """Return ``x + h/2 (f(x, t) + f(x + h f(x, t), t + h))``: the error of a path is of order h².

    Args:
      f: ``f(x, t) -> dx/dt``.
      x: as in `euler`.
      t: the time at the start of the step.
      length: h, the length of the step.
    """
    first = f(x, t)
    second = f(_moved(x, length, first), t + length)
    return _moved(x, 0.5 * length, jax.tree.map(lambda a, b: a + b, first, second))


def rk4(f: Field, x: PyTree, t: Any, length: Any) -> PyTree:
    """Return the step of the classical Runge–Kutta method, weights 1, 2, 2, 1: the error of a path is of order h⁴.

    Args:
      f: ``f(x, t) -> dx/dt``.
      x: as in `euler`.
      t: the time at the start of the step.
      length: h, the length of the step.

    Reference: Hairer, Nørsett & Wanner (1993), Solving Ordinary Differential Equations I, section II.1.
    """
    half = 0.5 * length
    first = f(x, t)
    second = f(_moved(x, half, first), t + half)
    third = f(_moved(x, half, second), t + half)
    fourth = f(_moved(x, length, third), t + length)
    total = jax.tree.map(lambda a, b, c, d: a + 2 * b + 2 * c + d, first, second, third, fourth)
    return _moved(x, length / 6, total)


METHODS: Mapping[str, Stepper] = MappingProxyType({"euler": euler, "midpoint": midpoint, "heun": heun, "rk4": rk4})
"""The methods by name."""


def _moved(x: PyTree, length: Any, slope: PyTree) -> PyTree:
    return jax.tree.map(lambda x, slope: x + _beside(length, x) * slope, x, slope)


def _beside(length: Any, x: Array) -> Any:
    """Return a length, or one for each example, in a shape that multiplies events."""
    return length if jnp.ndim(length) == 0 else length.reshape(-1, *(1,) * (x.ndim - 1))
