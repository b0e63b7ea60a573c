"""Events of any shape as vectors."""

from __future__ import annotations

__all__ = ["flat"]

import jax.numpy as jnp

from vifx.core.types import Array


def flat(name: str, value: Array) -> Array:
    """Return values as vectors in floating point, ``[examples, size]``.

    Args:
      value: ``[examples, *event]``, also booleans and integers.

    Raises:
      ValueError: there is no axis of examples.
    """
    if value.ndim == 0:
        raise ValueError(f"{name}: values must have an axis of examples, [examples, *event], got a scalar.")
    value = value.reshape(value.shape[0], -1)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))
