"""Whole splits through a jitted function: fixed batch shape, no example dropped, one trace."""

from __future__ import annotations

__all__ = ["example_keys", "in_batches"]

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from vifx.checks import require_integer
from vifx.core.types import Array, Key, Params, PyTree, State
from vifx.data.arrays import checked_arrays


def example_keys(key: Key, indices: Array) -> Array:
    """Return one key per example of a split: a function of its index alone, so not of the batch size."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)


def in_batches(
    key: Key,
    function: Callable[[Key, Params, State, Mapping[str, Array], Array], PyTree],
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    batch_size: int,
) -> PyTree:
    """Map ``(key, params, state, batch, indices) -> per-example leaves`` over a split.

    The last batch is filled up with copies of the last example, whose results are cut off: every
    batch has one shape, and the result has exactly one row per example.

    Args:
      key: given to each call; noise should come from `example_keys`.
      function: jitted; its leaves have a leading axis of the batch's examples.
      params: passed on.
      state: passed on.
      split: arrays with one common leading axis.
      batch_size: examples at a time.

    Returns:
      The leaves as NumPy arrays ``[examples, ...]``.

    Raises:
      TypeError: if an entry is not an array of numbers.
      ValueError: if the entries disagree in length, there is no example, a number is not finite, or `batch_size` is
        not positive.
    """
    lengths = {name: np.shape(array)[0] for name, array in split.items()}
    if not lengths or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"split must hold arrays of one common, positive number of examples, got {lengths}.")
    require_integer(batch_size, "batch_size")
    examples = next(iter(lengths.values()))
    arrays = checked_arrays(split, "split")
    batch_size = min(batch_size, examples)
    results: list[Any] = []
    for first in range(0, examples, batch_size):
        indices = np.minimum(np.arange(first, first + batch_size), examples - 1)
        batch = {name: jax.numpy.asarray(array[indices]) for name, array in arrays.items()}
        kept = min(batch_size, examples - first)
        rows = function(key, params, state, batch, jax.numpy.asarray(indices, dtype=np.uint32))
        results.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], rows))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *results)
