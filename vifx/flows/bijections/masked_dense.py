"""Dense networks whose outputs see only the inputs before them in an order."""

from __future__ import annotations

__all__ = ["Masked", "masked"]

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, Key, PyTree


class Masked(NamedTuple):
    """A network of rows ``[examples, elements]`` with `size` outputs for each element.

    Attributes:
      init: ``(key, rows, parents) -> params``; the last layer is zero.
      outputs: ``(params, rows, parents) -> [examples, elements, size]``, one pass.
      output: ``(params, rows, parents, element) -> [examples, size]`` for one element, which may be traced.
    """

    init: Callable[[Key, Array, Array | None], PyTree]
    outputs: Callable[[PyTree, Array, Array | None], Array]
    output: Callable[[PyTree, Array, Array | None, Array], Array]


def masked(order: Sequence[int], hidden: Sequence[int], size: int, activation: Callable[[Array], Array]) -> Masked:
    """Return dense layers with masked kernels: the outputs of ``order[k]`` depend on ``order[:k]`` alone.

    An input has the degree k + 1, its place in the order; hidden units have degrees spread evenly over those that
    help, and an entry of a kernel is kept if its input's degree is at most its output's, below it in the last layer.
    Parents enter the first layer unmasked; then there are hidden units of degree 0, which see nothing else, so that
    the first element depends on them too.

    Reference: Germain et al., MADE: Masked Autoencoder for Distribution Estimation, 2015, arXiv:1502.03509.
    """
    elements = len(order)
    place = np.empty(elements, int)
    place[np.asarray(order)] = np.arange(1, elements + 1)

    def masks(conditional: bool) -> list[np.ndarray]:
        lowest = 0 if conditional else min(1, elements - 1)
        degrees = [place, *(lowest + np.arange(width) * (elements - lowest) // width for width in hidden)]
        inner = [below[:, None] <= above[None] for below, above in itertools.pairwise(degrees)]
        return [*inner, degrees[-1][:, None] < place[None]]

    def init(key: Key, rows: Array, parents: Array | None) -> PyTree:
        kept, params = masks(parents is not None), {}
        for index, mask in enumerate(kept[:-1]):
            drawn = jax.random.normal(jax.random.fold_in(key, index), mask.shape, rows.dtype)
            seen = np.maximum(mask.sum(0), 1)[None]
            kernel = drawn * jnp.asarray(mask / np.sqrt(seen), rows.dtype)
            params[f"Dense_{index}"] = {"kernel": kernel, "bias": jnp.zeros(mask.shape[1], rows.dtype)}
        if parents is not None:
            drawn = jax.random.normal(jax.random.fold_in(key, len(hidden)), (parents.shape[1], hidden[0]), rows.dtype)
            params["given"] = drawn / math.sqrt(parents.shape[1])
        params["head"] = {
            "kernel": jnp.zeros((hidden[-1], elements, size), rows.dtype),
            "bias": jnp.zeros((elements, size), rows.dtype),
        }
        return params

    def features(params: PyTree, rows: Array, parents: Array | None) -> tuple[Array, Array]:
        """The last hidden layer, and the mask between it and the outputs."""
        *inner, last = (jnp.asarray(mask, rows.dtype) for mask in masks(parents is not None))
        for index, mask in enumerate(inner):
            layer = params[f"Dense_{index}"]
            rows = rows @ (layer["kernel"] * mask) + layer["bias"][None]
            if index == 0 and parents is not None:
                rows = rows + parents @ params["given"]
            rows = activation(rows)
        return rows, last

    def outputs(params: PyTree, rows: Array, parents: Array | None) -> Array:
        rows, mask = features(params, rows, parents)
        head = params["head"]
        kernel = (head["kernel"] * mask[:, :, None]).reshape(hidden[-1], -1)
        return (rows @ kernel).reshape(-1, elements, size) + head["bias"][None]

    def output(params: PyTree, rows: Array, parents: Array | None, element: Array) -> Array:
        rows, mask = features(params, rows, parents)
        head = params["head"]
        kernel = jnp.take(head["kernel"], element, axis=1) * jnp.take(mask, element, axis=1)[:, None]
        return rows @ kernel + jnp.take(head["bias"], element, axis=0)[None]

    return Masked(init, outputs, output)
