"""Permutations of the last axis."""

from __future__ import annotations

__all__ = ["permutation", "reverse", "shuffle"]

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def permutation(order: Sequence[int]) -> Bijection:
    """Permute the last axis by a given order: ``z[..., i] = x[..., order[i]]``, ``log|det ∂z/∂x| = 0``.

    Args:
      order: each of 0 … n - 1 once, for a last axis of n elements.

    Returns:
      A bijection that raises ValueError for a last axis of another length.

    Raises:
      ValueError: `order` is not a permutation.
    """
    array = np.asarray(order)
    if array.ndim != 1 or array.size == 0 or not np.array_equal(np.sort(array), np.arange(array.size)):
        raise ValueError(f"permutation: order must have each of 0 … n - 1 once, got {order!r}.")
    back = np.argsort(array)

    def check(x: Array) -> None:
        if x.shape[-1] != array.size:
            raise ValueError(
                f"permutation: order has {array.size} entries and the last axis {x.shape[-1]} elements; give an order "
                "of as many."
            )

    def init(_key: Key, x: Array) -> PyTree:
        check(x)
        return {}

    def forward(_state: PyTree, x: Array) -> Array:
        check(x)
        return _taken(x, jnp.asarray(array))

    def inverse(_state: PyTree, z: Array) -> Array:
        check(z)
        return _taken(z, jnp.asarray(back))

    return _rearrangement("permutation", init, forward, inverse)


def reverse() -> Bijection:
    """Reverse the last axis: ``z[..., i] = x[..., n - 1 - i]``, ``log|det ∂z/∂x| = 0``; it is its own inverse."""

    def flip(_state: PyTree, x: Array) -> Array:
        return jnp.flip(x, axis=-1)

    def init(_key: Key, _x: Array) -> PyTree:
        return {}

    return _rearrangement("reverse", init, flip, flip)


def shuffle() -> Bijection:
    """Permute the last axis by an order drawn once, at initialization, and kept in the state: ``log|det ∂z/∂x| = 0``.

    In a `stack` every copy has an order of its own.
    """

    def init(key: Key, x: Array) -> PyTree:
        order = jax.random.permutation(key, x.shape[-1])
        return {"order": order, "back": jnp.argsort(order)}

    return _rearrangement(
        "shuffle",
        init,
        lambda state, x: _taken(x, state["order"]),
        lambda state, z: _taken(z, state["back"]),
    )


def _taken(x: Array, order: Array) -> Array:
    # No index occurs twice. If JAX knows it, the gradient is a copy and not a sum over collisions.
    return x.at[..., order].get(unique_indices=True, mode="promise_in_bounds")


def _rearrangement(
    name: str,
    state_of: Callable[[Key, Array], PyTree],
    there: Callable[[PyTree, Array], Array],
    back: Callable[[PyTree, Array], Array],
) -> Bijection:
    def init(key: Key, x: Array, _given: object) -> tuple[PyTree, PyTree]:
        return {}, state_of(key, x)

    def forward(_params: PyTree, state: PyTree, x: Array, _given: object, _key: Key | None) -> tuple[Array, Array]:
        return there(state, x), jnp.zeros(x.shape[0], x.dtype)

    def inverse(_params: PyTree, state: PyTree, z: Array, _given: object, _key: Key | None) -> tuple[Array, Array]:
        return back(state, z), jnp.zeros(z.shape[0], z.dtype)

    return checked(name, init, forward, inverse)
