"""What a bijection is conditioned on, as the inputs of a network or as one row of numbers for each example."""

from __future__ import annotations

__all__ = ["flattened", "own_rows", "parents", "required_parents", "rows_of", "summed"]

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array


def flattened(given: Any, dtype: Any) -> Array | None:
    """Return the arrays of `given` side by side, ``[examples, features]``, or None where there are none.

    Raises:
      TypeError: an array is not real, such as class numbers.
    """
    leaves = jax.tree.leaves(given)
    if not leaves:
        return None
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"given must be real, got {leaf.dtype}; embed it first, such as classes by "
                "flows.conditioned(bijection, networks.OneHot(10))."
            )
    rows = [leaf.reshape(leaf.shape[0], -1).astype(dtype) for leaf in leaves]
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=1)


def parents(given: Any) -> tuple[Any, ...]:
    """Return the arrays of `given` as the further inputs of a network: none, one, or those of a tuple."""
    return () if given is None else given if isinstance(given, tuple) else (given,)


def required_parents(given: Any, name: str) -> tuple[Any, ...]:
    """Return `parents` for a bijection that cannot do without a condition.

    Raises:
      ValueError: there is none; the message starts with `name`.
    """
    if given is None:
        raise ValueError(
            f"{name}: given is missing; declare the factor with its parents, such as transformed('z | x', ...), or "
            "pass given=."
        )
    return parents(given)


def rows_of(x: Array) -> Array:
    """Return events of any shape as vectors, ``[examples, elements]``."""
    return x.reshape(x.shape[0], -1)


def summed(x: Array) -> Array:
    """Return the sum over each event, ``[examples]``."""
    return jnp.sum(rows_of(x), axis=1)


def own_rows(params: Mapping[str, Array], names: Sequence[str], given: Any, rows: Array) -> list[Array]:
    """Return parameters for each example: ``[examples, size]``, or ``[examples]`` for a scalar.

    With `given`, a linear map of it, ``params["given"]``, is added; its columns are the parameters side by side.

    Args:
      given: what the bijection is conditioned on, or None.
      rows: the events as vectors, ``[examples, elements]``.
    """
    found = [jnp.broadcast_to(params[name], (rows.shape[0], *params[name].shape)) for name in names]
    leaves = flattened(given, rows.dtype)
    if leaves is None:
        return found
    ends = np.cumsum([params[name].size for name in names])
    moved = jnp.split(leaves @ params["given"], ends[:-1], axis=1)
    return [own + more.reshape(own.shape) for own, more in zip(found, moved, strict=True)]
