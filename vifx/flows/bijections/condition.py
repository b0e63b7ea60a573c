"""What a bijection is conditioned on, as the inputs of a network or as one row of numbers for each example."""

from __future__ import annotations

__all__ = ["flattened", "parents"]

from typing import Any

import jax
import jax.numpy as jnp

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
