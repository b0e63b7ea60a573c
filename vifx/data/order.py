"""The order in which training sees its examples: a pure function of (seed, epoch)."""

from __future__ import annotations

__all__ = ["check_batching", "check_window", "epoch_order"]

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import ArgumentError, require_integer
from vifx.core.types import Array

STREAM = 0x0DA7A
"""Folded in, so that a run may use one seed for its order and its noise."""


def epoch_order(seed: int, epoch: int, *, size: int) -> Array:
    """Return the permutation of epoch `epoch`: int32 `[size]`, computed on the device.

    It depends on nothing but its arguments: neither on the epochs before it, nor on the number of
    devices, nor on the configured precision and random bit generator.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if there are no examples, or too many, or the seed is not a 32-bit number.
    """
    require_integer(epoch, "epoch", least=0)
    check_batching(size, 1, seed)
    return _permutation(np.uint32(seed), np.uint32(epoch % 2**32), size=size)


def check_batching(size: int, batch_size: int, seed: int) -> None:
    """Raise unless minibatches of `batch_size` can be drawn from `size` examples.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if the batch is empty or larger than the data, or the seed is not a 32-bit number.
    """
    require_integer(batch_size, "batch_size")
    require_integer(size, "size", least=0)
    require_integer(seed, "seed", least=0, most=2**32 - 1)
    if size == 0:
        raise ValueError("the data has no examples; give a split that is not empty")
    if batch_size > size:
        sentence = f"must not exceed the {size} examples of the data, got {batch_size}; lower it"
        raise ArgumentError("batch_size", sentence, value=batch_size)
    if size >= 2**31:
        raise ValueError(f"the data must have fewer than 2**31 examples, got {size}")


def check_window(first: int, batches: int) -> None:
    """Raise unless there are minibatches `first` to ``first + batches − 1``.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if `first` is negative or `batches` is not positive.
    """
    require_integer(first, "window: first", least=0)
    require_integer(batches, "window: batches")


@partial(jax.jit, static_argnames="size")
def _permutation(seed: Array, epoch: Array, *, size: int) -> Array:
    stream = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), STREAM)
    return jax.random.permutation(jax.random.fold_in(stream, epoch), jnp.arange(size, dtype=jnp.int32))
