"""The one wrapper that checks what goes into a bijection and what comes out."""

from __future__ import annotations

__all__ = ["checked"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.types import Array, Bijection, Key, PyTree


def checked(
    name: str,
    init: Callable[[Key, Array, Any], tuple[PyTree, PyTree]],
    forward: Callable[[PyTree, PyTree, Array, Any, Key | None], tuple[Array, Array]],
    inverse: Callable[[PyTree, PyTree, Array, Any, Key | None], tuple[Array, Array]],
) -> Bijection:
    """Make a `Bijection` of three plain functions, with shapes and dtypes checked at each call.

    The checks read shapes alone: compiled, they cost nothing.

    Args:
      name: what messages call the bijection.
      init: ``(key, x, given) -> (params, state)``.
      forward: ``(params, state, x, given, key) -> (z, log_det)``, ``log_det = log|det dz/dx|`` in nats.
      inverse: ``(params, state, z, given, key) -> (x, log_det)``, ``log_det = log|det dx/dz|`` in nats.

    Returns:
      A bijection that raises ValueError or TypeError unless its input is a real array ``[examples, *event]``,
      every array of `given` has as many examples, and it returns a value of the input's dtype and as many
      examples with one log-determinant each.

    >>> import jax.numpy as jnp
    >>> def double(params, state, x, given, key):
    ...     return 2 * x, jnp.full(x.shape[0], x.shape[1] * jnp.log(2.0))
    >>> def halve(params, state, z, given, key):
    ...     return z / 2, jnp.full(z.shape[0], -z.shape[1] * jnp.log(2.0))
    >>> doubling = checked("doubling", lambda key, x, given: ({}, {}), double, halve)
    >>> doubling.forward({}, {}, jnp.zeros(3))
    Traceback (most recent call last):
      ...
    ValueError: doubling: forward needs [examples, *event] with at least one event axis, got shape [3]; \
add an axis, such as x[:, None].
    """

    def checked_init(key: Key, x: Array, given: Any = None) -> tuple[PyTree, PyTree]:
        _check_input(f"{name}: init", x, given)
        return init(key, x, given)

    def checked_forward(
        params: PyTree, state: PyTree, x: Array, given: Any = None, *, key: Key | None = None
    ) -> tuple[Array, Array]:
        _check_input(f"{name}: forward", x, given)
        return _check_output(f"{name}: forward", x, *forward(params, state, x, given, key))

    def checked_inverse(
        params: PyTree, state: PyTree, z: Array, given: Any = None, *, key: Key | None = None
    ) -> tuple[Array, Array]:
        _check_input(f"{name}: inverse", z, given)
        return _check_output(f"{name}: inverse", z, *inverse(params, state, z, given, key))

    return Bijection(checked_init, checked_forward, checked_inverse)


def _check_input(where: str, value: Array, given: Any) -> None:
    dtype = getattr(value, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{where} needs a real array, got {dtype or type(value).__name__}; dequantize integers first, "
            "(x + u) / 256 for 8-bit pixels (vifx.data.dequantize)."
        )
    if value.ndim < 2:
        raise ValueError(
            f"{where} needs [examples, *event] with at least one event axis, got shape {list(value.shape)}; add an "
            "axis, such as x[:, None]."
        )
    for leaf in jax.tree.leaves(given):
        if leaf.shape[:1] != value.shape[:1]:
            raise ValueError(
                f"{where} needs as many examples in given as in the value, got given {list(leaf.shape)} for "
                f"{list(value.shape)}; repeat or index given so that the leading axes agree."
            )


def _check_output(where: str, value: Array, output: Array, log_det: Array) -> tuple[Array, Array]:
    if output.shape[:1] != value.shape[:1] or output.size != value.size:
        raise ValueError(
            f"{where} maps {list(value.shape)} to {list(output.shape)}; a bijection keeps the examples and the number "
            "of elements."
        )
    if log_det.shape != value.shape[:1]:
        raise ValueError(
            f"{where} returned log_det of shape {list(log_det.shape)}, expected {list(value.shape[:1])}, one per "
            "example; sum it over the event axes."
        )
    for what, found in (("a value", output.dtype), ("log_det", log_det.dtype)):
        if found != value.dtype:
            raise TypeError(
                f"{where} got {value.dtype} and returned {what} of {found}; cast parameters and data to one dtype."
            )
    return output, log_det
