"""The states of a family's parents as one number."""

from __future__ import annotations

__all__ = ["count", "index"]

import math
from collections.abc import Sequence

import jax.numpy as jnp

from vifx.core.types import Array


def count(name: str, states: int | Sequence[int]) -> tuple[int, ...]:
    """Return the checked numbers of states of the parents.

    Args:
      name: the family's, for messages.
      states: one number of `states`, or one for each parent.

    Raises:
      ValueError: a number is not a positive integer.
    """
    sizes = (states,) if isinstance(states, int) else tuple(states)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name}: states must be positive integers, one for each parent, got {states!r}.")
    return sizes


def index(sizes: tuple[int, ...], parents: Sequence[Array]) -> Array | None:
    """Return the number of each example's combination of parents' states, ``[examples]``; None without parents.

    The last parent varies fastest.

    Args:
      sizes: the number of states of each parent.
      parents: integers, ``[examples]`` each.

    Raises:
      ValueError: the number of parents is another.
    """
    if not parents and math.prod(sizes) == 1:
        return None
    if len(parents) != len(sizes):
        raise ValueError(
            f"a family of parents with {list(sizes)} states is given {len(parents)} parents; declare states= for each."
        )
    result = jnp.zeros(parents[0].shape, jnp.int32)
    for size, parent in zip(sizes, parents, strict=True):
        result = result * size + parent.astype(jnp.int32)
    return result
