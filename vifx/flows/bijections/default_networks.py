"""The default networks of couplings and splits."""

from __future__ import annotations

__all__ = ["dense", "zero_linear"]

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_widths
from vifx.core.nets import from_functions
from vifx.core.types import Array, Key, Net, PyTree


def dense(hidden: Sequence[int] = (64, 64), *, activation: Callable[[Array], Array] = jax.nn.relu) -> Net:
    """Dense layers ``h ← activation(h W + b)`` on the joined inputs, as plain functions in the data's dtype.

    Inputs of any shape are flattened and put side by side. Weights start normal with variance ⅓ over the number of
    inputs, that of uniform numbers between ±1/√inputs; biases start at zero.

    Args:
      hidden: the width of each layer, at least one.
      activation: the nonlinearity.

    Returns:
      A network that raises TypeError for inputs that are not floats.

    Raises:
      ValueError: `hidden` is empty or has a width below 1.
    """
    widths = require_widths(hidden, "dense: hidden")

    def init(key: Key, *inputs: Array) -> PyTree:
        h = _joined(inputs)
        return tuple(
            {
                "weight": jax.random.normal(jax.random.fold_in(key, index), (before, after), h.dtype)
                / math.sqrt(3 * before),
                "bias": jnp.zeros(after, h.dtype),
            }
            for index, (before, after) in enumerate(itertools.pairwise((h.shape[-1], *widths)))
        )

    def apply(params: PyTree, *inputs: Array) -> Array:
        h = _joined(inputs)
        for layer in params:
            product = h @ layer["weight"]
            h = activation(product + jnp.broadcast_to(layer["bias"], product.shape))
        return h

    return from_functions(init, apply)


def zero_linear(outputs: int) -> Net:
    """Map the last axis affinely to `outputs` numbers, zero at the start, in the dtype of the features."""

    def init(_key: Key, features: Array) -> PyTree:
        width, dtype = features.shape[-1], features.dtype
        return {"weight": jnp.zeros((width, outputs), dtype), "bias": jnp.zeros(outputs, dtype)}

    def apply(params: PyTree, features: Array) -> Array:
        product = features @ params["weight"]
        return product + jnp.broadcast_to(params["bias"], product.shape)

    return from_functions(init, apply)


def _joined(inputs: tuple[Any, ...]) -> Array:
    for position, value in enumerate(inputs):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"dense: input {position} has dtype {value.dtype}, but a network multiplies floats; condition on "
                "one-hot labels, such as flows.conditioned(bijection, networks.OneHot(10))."
            )
    dtype = inputs[0].dtype
    rows = [value.reshape(value.shape[0], -1).astype(dtype) for value in inputs]
    return jnp.concatenate(rows, axis=-1) if len(rows) > 1 else rows[0]
