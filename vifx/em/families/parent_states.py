"""The states of a family's parents as one number."""

from __future__ import annotations

__all__ = ["by_state", "count", "index"]

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from vifx.checks import require_integer
from vifx.core.types import Array, Key, PyTree


def count(name: str, states: int | Sequence[int]) -> tuple[int, ...]:
    """Return the checked numbers of states of the parents.

    Args:
      states: one number of `states`, or one for each parent.

    Raises:
      ValueError: a number is below 1.
    """
    sizes = (states,) if isinstance(states, int) else tuple(states)
    return tuple(require_integer(size, f"{name}: states") for size in sizes)


def index(sizes: tuple[int, ...], parents: Sequence[Array]) -> Array | None:
    """Return the number of each example's combination of parents' states, ``[examples]``; None without parents.

    The last parent varies fastest.

    Args:
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


def by_state(
    sizes: tuple[int, ...], distribution: Callable[[PyTree, Array | int], Any]
) -> Callable[..., tuple[Any, PyTree]]:
    """Return the `apply` of a family: the distribution at each example's combination of the parents' states.

    Args:
      distribution: ``(params, at) -> distribution``, `at` the numbers of the combinations, or 0 without parents.
    """

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        del key, train
        at = index(sizes, parents)
        return distribution(params, 0 if at is None else at), state

    return apply
