"""Training data that lies on the device: minibatches are gathered inside the compiled step."""

from __future__ import annotations

__all__ = ["Resident", "Window"]

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_function
from vifx.core.types import Array, Batch, Key
from vifx.data.arrays import checked_arrays
from vifx.data.order import check_batching, check_window, epoch_order
from vifx.data.transforms import Transform


class Window(NamedTuple):
    """The order of the examples around some minibatches.

    Attributes:
      order: the permutations of consecutive epochs, one after the other: int32 `[epochs · size]`.
      offset: where in it the first minibatch starts: an int32 scalar.
    """

    order: Array
    offset: Array | np.int32


class Resident:
    """A source of minibatches whose examples all lie on the device.

    Epochs are concatenated, and minibatch t covers positions [t·B, (t + 1)·B) of that stream: so every
    epoch has each example exactly once, whether or not B divides their number, and the order is a
    function of (seed, t). An epoch is permuted once, on the device.

        window = source.window(first, 100)                     # on the host, once for many steps
        batch = source.take(key, source.arrays, window, i)     # inside jit: minibatch first + i

    Attributes:
      arrays: the examples on the device, each `[size, ...]`.
      size: the number of examples N.
      batch_size: the number of examples B in a minibatch.
      seed: what, with the epoch, decides the order.
      transform: applied to each minibatch inside jit, or None.

    Raises:
      TypeError: if an argument is of another kind, such as a dataset or an array in place of arrays by name.
      ValueError: if the arrays disagree in length, hold non-finite numbers, or are fewer than a batch.

    Example:
      >>> import jax, numpy as np
      >>> source = Resident({"x": np.arange(6.0)}, batch_size=3, seed=0)
      >>> window = source.window(0, 2)
      >>> batches = [source.take(jax.random.key(0), source.arrays, window, i)["x"] for i in range(2)]
      >>> sorted(np.concatenate(batches).tolist())
      [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    def __init__(
        self,
        arrays: Mapping[str, chex.Array],
        batch_size: int,
        seed: int,
        transform: Transform | None = None,
    ) -> None:
        host = checked_arrays(arrays, "arrays")
        self.size = len(next(iter(host.values())))
        check_batching(self.size, batch_size, seed)
        if transform is not None:
            require_function(transform, "transform", "(key, batch) -> batch, such as data.binarize()")
        self.arrays: Batch = jax.device_put(host)
        self.batch_size = batch_size
        self.seed = seed
        self.transform = transform
        self._epochs: dict[int, Array] = {}
        self._order: tuple[range, Array] | None = None

    def window(self, first: int, batches: int) -> Window:
        """Return what `take` needs for minibatches `first` to `first + batches - 1`.

        The shapes depend on `batches` alone, so a compiled function that takes a window traces once.

        Raises:
          TypeError: if a number is not an integer.
          ValueError: if `first` is negative, `batches` is not positive, or the window has 2³¹ positions.
        """
        check_window(first, batches)
        length = batches * self.batch_size
        count = (length + self.size - 2) // self.size + 1
        if count * self.size >= 2**31:
            raise ValueError(f"a window must span fewer than 2**31 positions, got batches={batches}; take fewer")
        epoch, offset = divmod(int(first) * self.batch_size, self.size)  # Python integers: no overflow
        epochs = range(epoch, epoch + count)
        if self._order is None or self._order[0] != epochs:
            self._epochs = {e: self._epochs[e] if e in self._epochs else self._permutation(e) for e in epochs}
            self._order = epochs, jnp.concatenate(list(self._epochs.values()))
        return Window(self._order[1], np.int32(offset))

    def take(self, key: Key, arrays: Batch, window: Window, i: Array | int) -> Batch:
        """Return minibatch `first + i` of a window, transformed with `key`; pure, to be called inside jit.

        Args:
          key: the noise of the transform.
          arrays: `source.arrays`, an argument so that they are not compiled in as constants.
          window: from `window(first, batches)`.
          i: which minibatch of it, 0 ≤ i < batches; not checked, since it may be traced.
        """
        start = window.offset + i * self.batch_size
        rows = jax.lax.dynamic_slice_in_dim(window.order, start, self.batch_size)
        batch = {name: array.at[rows].get(mode="promise_in_bounds") for name, array in arrays.items()}
        return batch if self.transform is None else self.transform(key, batch)

    def _permutation(self, epoch: int) -> Array:
        return epoch_order(self.seed, epoch, size=self.size)
