"""Open intervals: what lies in them, and the numbers of a dtype nearest to their ends."""

from __future__ import annotations

__all__ = ["kept_inside", "require_inside"]

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.core.types import Array


def require_inside(x: Array, low: float, high: float, rule: str, fix: str) -> None:
    """Refuse values that are not in ``(low, high)``, where they can be seen; under `jax.jit` they cannot.

    Raises:
      ValueError: a value is not inside; the message is `rule`, the range of the values and `fix`.
    """
    if isinstance(x, Tracer):
        return
    found = np.asarray(x)
    if found.size and not ((found > low) & (found < high)).all():
        raise ValueError(f"{rule}, got values from {found.min()} to {found.max()}; {fix}.")


def kept_inside(x: Array, low: float, high: float) -> Array:
    """Return values with those at or beyond an end of ``(low, high)`` replaced by the number next to that end.

    An end at infinity is the largest finite number away, so that nothing overflows.
    """
    return jnp.clip(x, _next(low, math.inf, x.dtype), _next(high, -math.inf, x.dtype))


def _next(end: float, direction: float, dtype: Any) -> np.ndarray:
    """The normal number of a dtype next to `end` in a direction; subnormal ones are zero on many devices."""
    found, info = np.nextafter(np.asarray(end, dtype), np.asarray(direction, dtype)), jnp.finfo(dtype)
    return np.asarray(math.copysign(float(info.tiny), direction) if abs(found) < info.tiny else found, dtype)
