"""A bijection of some of the elements."""

from __future__ import annotations

__all__ = ["indexed"]

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vifx.checks import require
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import A_BIJECTION, checked


def indexed(bijection: Bijection, index: int | slice | Sequence[int] | Sequence[bool] | np.ndarray) -> Bijection:
    """Map some elements of the last axis, and leave the others: ``z[index] = f(x[index])``.

    ``log|det ∂z/∂x| = log|det ∂f|`` in nats. The bijection sees the elements in the order of the index, as the last
    axis of an event of its own.

    Args:
      bijection: f; it must keep the shape.
      index: which elements, as NumPy indexes an array: positions (negative ones count from the end), a slice, or one
        boolean for each element.

    Raises:
      TypeError: `bijection` is not a `Bijection`, or `index` has neither integers nor booleans.
      ValueError: `index` is empty; from the bijection, it does not fit the last axis or names an element twice, or
        `bijection` changes the shape.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import flows
    >>> bijection, x = flows.indexed(flows.exp(), [-1]), jnp.array([[5.0, 7.0, 0.0]])
    >>> params, state = bijection.init(jax.random.key(0), x)
    >>> print(bijection.forward(params, state, x)[0])
    [[5. 7. 1.]]
    """
    require(bijection, Bijection, "indexed: bijection", *A_BIJECTION)
    wanted = index if isinstance(index, slice) else _checked_index(index)

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        part = _taken(x, _positions(wanted, x.shape[-1]))
        params, state = bijection.init(key, part, given)
        z = jax.eval_shape(lambda key: bijection.forward(params, state, part, given, key=key)[0], key)
        if z.shape != part.shape:
            raise ValueError(
                f"indexed: the bijection maps {list(part.shape)} to {list(z.shape)}; it must keep the shape, to be put "
                "back in its place. Parts that change their size are flows.concatenate's."
            )
        return params, state

    def run(
        direction: str, params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None
    ) -> tuple[Array, Array]:
        positions = _positions(wanted, x.shape[-1])
        part, log_det = getattr(bijection, direction)(params, state, _taken(x, positions), given, key=key)
        moved = x.at[..., positions].set(part, unique_indices=True, mode="promise_in_bounds")
        return moved, log_det

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return run("forward", params, state, x, given, key)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return run("inverse", params, state, z, given, key)

    return checked("indexed", init, forward, inverse)


def _taken(x: Array, positions: np.ndarray) -> Array:
    return x.at[..., positions].get(unique_indices=True, mode="promise_in_bounds")


def _checked_index(index: Any) -> np.ndarray:
    array = np.asarray(index)
    if array.size == 0:
        raise ValueError("indexed: index is empty; it must have at least one element.")
    if array.ndim > 1 or array.dtype.kind not in "iub":
        raise TypeError(
            f"indexed: index must be integers, booleans or a slice, got {array.dtype}{list(array.shape)}; give [0, 2] "
            "say."
        )
    return array


def _positions(wanted: np.ndarray | slice, size: int) -> np.ndarray:
    if not isinstance(wanted, slice):
        if wanted.dtype == np.bool_ and wanted.shape != (size,):
            raise ValueError(
                f"indexed: index has {wanted.size} booleans and the last axis {size} elements; give one for each."
            )
        if wanted.dtype != np.bool_ and not ((wanted >= -size) & (wanted < size)).all():
            raise ValueError(f"indexed: index {wanted} does not fit a last axis of {size} elements.")
    positions = np.arange(size)[wanted].reshape(-1)
    if positions.size == 0 or len(set(positions)) < positions.size:
        raise ValueError(
            f"indexed: index must name at least one element and none twice, got {positions} of {size} elements."
        )
    return positions
