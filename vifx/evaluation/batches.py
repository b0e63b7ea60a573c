"""Whole splits, and many samples, through a jitted function: fixed batch shape, no example dropped, one trace."""

from __future__ import annotations

__all__ = ["Rows", "in_batches", "point", "samples"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer
from vifx.core.joint import Joint, Sample
from vifx.core.types import Array, Batch, Key, Params, PyTree, State
from vifx.data.arrays import checked_arrays

_BATCH = 500


class Rows(NamedTuple):
    """One batch of a split, which a jitted function maps to a result for every example.

    Attributes:
      key: of the whole split; noise should come from `keys`.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      batch: the examples.
      indices: their places in the split, ``[examples]``.
    """

    key: Key
    params: Params
    state: State
    batch: Batch
    indices: Array

    @property
    def keys(self) -> Array:
        """One key per example: a function of its index alone, so not of the batch size."""
        return jax.vmap(partial(jax.random.fold_in, self.key))(self.indices)

    def each(self, function: Callable[[Key, Batch], PyTree]) -> PyTree:
        """Map ``(key, batch of one example) -> leaves [1, …]`` over the examples."""

        def one(key: Key, example: Batch) -> PyTree:
            return function(key, {name: value[None] for name, value in example.items()})

        return jax.tree.map(lambda leaf: leaf[:, 0], jax.vmap(one)(self.keys, dict(self.batch)))


def in_batches(
    key: Key,
    function: Callable[[Rows], PyTree],
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    batch_size: int,
) -> PyTree:
    """Map `Rows` to per-example leaves over a split.

    The last batch is filled up with copies of the last example, whose results are cut off: every
    batch has one shape, and the result has exactly one row per example.

    Args:
      function: jitted; its leaves have a leading axis of the batch's examples.

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
        found = function(Rows(key, params, state, batch, jax.numpy.asarray(indices, dtype=np.uint32)))
        results.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], found))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *results)


def samples(
    key: Key,
    generative: Joint,
    params: Params,
    state: State,
    n: int,
    *,
    temperature: float = 1.0,
    mean: bool = False,
    given: Batch | None = None,
) -> NDArray[Any]:
    """Draw `n` values of ``x``, 500 at a time, with networks in evaluation mode.

    Args:
      generative: a joint with a factor of ``x``.
      temperature: scales the standard deviation of the latents, or of the base of a flow.
      mean: whether to take the mean of ``x`` given its parents where it has one.
      given: what a conditional model is given, ``[n, …]``.
    """
    split = {**(given or {}), "position": np.arange(n, dtype=np.int32)}
    rows = partial(_sampled, generative, mean, temperature)
    return in_batches(key, rows, params, state, split, batch_size=_BATCH)


def point(drawn: Sample, *, mean: bool) -> Array:
    """Return the values of ``x`` that were drawn, or with `mean` their mean given their parents where they have one."""
    conditional: Any = drawn.conditionals["x"]
    return conditional.mean if mean and hasattr(conditional, "mean") else drawn.values["x"]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sampled(generative: Joint, mean: bool, temperature: float, rows: Rows) -> Array:
    given = {name: value for name, value in rows.batch.items() if name != "position"}
    key, n = jax.random.fold_in(rows.key, rows.indices[0]), len(rows.indices)
    found = generative.sample(key, rows.params, rows.state, given, examples=n, temperature=temperature)
    return point(found, mean=mean)
