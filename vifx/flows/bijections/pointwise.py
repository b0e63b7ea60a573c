"""One function of every element."""

from __future__ import annotations

__all__ = ["pointwise"]

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from vifx.checks import require, require_function
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import summed
from vifx.flows.bijections.interval import kept_inside, require_inside
from vifx.flows.checked import checked

Interval: TypeAlias = tuple[float, float]
_LINE = (-math.inf, math.inf)


def pointwise(
    name: str,
    forward: Callable[[Array], Array],
    inverse: Callable[[Array], Array],
    *,
    log_slope: Callable[[Array], Array] | None = None,
    domain: Interval = _LINE,
    image: Interval = _LINE,
) -> Bijection:
    """Apply one monotone function to every element: ``z = f(x)``, ``log|det ∂z/∂x| = Σ log|f'(x)|`` in nats.

    Events have any shape; scalar events are ``[examples]``. It has no parameters.

    `domain` and `image` are open intervals, and all values stay inside of them: a result that rounding puts on an end
    becomes the number next to it, and one that overflows the largest number. So results are finite, and each direction
    takes what the other returns. What lies outside has no image. That is an error where it can be seen; under
    `jax.jit` its ``log_det`` is −∞, so that its density is zero, and gradients are finite.

    Args:
      name: its name in messages.
      forward: f, from an array to an array of the same shape and dtype, each element by itself.
      inverse: the inverse function of f.
      log_slope: ``log|f'(x)|`` of each element as a function of x; None for automatic differentiation of `forward`,
        which is exact but for overflow.
      domain: where x may lie, its two ends, either of which may be infinite.
      image: where z may lie.

    Raises:
      TypeError: `forward`, `inverse` or `log_slope` is not a function.
      ValueError: `domain` or `image` is not an interval; from the bijection, values that are not inside.

    >>> import jax.numpy as jnp
    >>> from vifx import flows
    >>> cube = flows.pointwise("cube", lambda x: x**3, jnp.cbrt, domain=(0, jnp.inf), image=(0, jnp.inf))
    >>> z, log_det = cube.forward({}, {}, jnp.array([[1.0, 2.0]]))
    >>> print(z, jnp.exp(log_det))
    [[1. 8.]] [36.]
    """
    require(name, str, "pointwise: name", "a string", "it names the bijection in messages")
    require_function(forward, "pointwise: forward", "x -> z")
    require_function(inverse, "pointwise: inverse", "z -> x")
    if log_slope is not None:
        require_function(log_slope, "pointwise: log_slope", "x -> log|f'(x)|")
    slope = _derived(forward) if log_slope is None else log_slope
    domain, image = _interval(domain, "domain"), _interval(image, "image")

    def init(_key: Key, _x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {}, {}

    def there(_params: PyTree, _state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        inside, x = _inside(f"{name}: forward", x, domain)
        return _applied(forward, x, domain, image), _log_det(slope(x), inside)

    def back(_params: PyTree, _state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        inside, z = _inside(f"{name}: inverse", z, image)
        x = _applied(inverse, z, image, domain)
        return x, _log_det(-slope(x), inside)

    return checked(name, init, there, back, scalars=True)


def _derived(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def log_slope(x: Array) -> Array:
        return jnp.log(jnp.abs(jax.jvp(function, (x,), (jnp.ones_like(x),))[1]))

    return log_slope


def _log_det(log_slope: Array, inside: Array | None) -> Array:
    return summed(log_slope if inside is None else jnp.where(inside, log_slope, -jnp.inf))


def _inside(where: str, x: Array, interval: Interval) -> tuple[Array | None, Array]:
    """Which values are inside, None where all numbers are, and the values with a number from inside for the others."""
    if interval == _LINE:
        return None, x
    low, high = interval
    middle = jnp.asarray(_middle(interval), x.dtype)
    require_inside(
        x,
        low,
        high,
        f"{where} needs values in ({low:g}, {high:g})",
        "scale or shift them first, or leave out those at an end, whose density is not finite",
    )
    inside = (x > low) & (x < high)
    return inside, jnp.where(inside, x, middle)


def _middle(interval: Interval) -> float:
    low, high = interval
    if interval == _LINE:
        return 0.0
    return low + 1 if math.isinf(high) else high - 1 if math.isinf(low) else 0.5 * (low + high)


def _applied(function: Callable[[Array], Array], x: Array, source: Interval, target: Interval) -> Array:
    """Return values inside of `target`; what overflows has the derivative 0, and none that is not finite."""
    found = function(jax.lax.stop_gradient(x))
    finite = jnp.isfinite(found)
    safe = jnp.where(finite, x, jnp.asarray(_middle(source), x.dtype))
    return kept_inside(jnp.where(finite, function(safe), found), *target)


def _interval(ends: Any, name: str) -> Interval:
    require(ends, (tuple, list), f"pointwise: {name}", "a pair of numbers", "give (0, math.inf) say")
    if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:
        raise ValueError(f"pointwise: {name} must be two numbers, the smaller one first, got {ends}; give (0, 1) say.")
    return float(ends[0]), float(ends[1])
