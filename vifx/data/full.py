"""Training data that is one minibatch: the whole data set at every update."""

from __future__ import annotations

__all__ = ["Full"]

from collections.abc import Mapping

import chex
import jax

from vifx.checks import require_function
from vifx.core.types import Array, Batch, Key
from vifx.data.arrays import checked_arrays
from vifx.data.order import check_window
from vifx.data.transforms import Transform


class Full:
    """A source whose every minibatch is the whole data set, in its own order: for EM, and for full gradients.

    Nothing is permuted or gathered, which for 60,000 examples takes longer than an iteration of EM. On a mesh whose
    devices do not divide the examples, `training.fit` adds rows of weight zero, which count for nothing.

    Attributes:
      arrays: the examples on the device, each ``[size, ...]``.
      size: the number of examples.
      transform: applied at each update inside jit, or None.

    Args:
      arrays: by variable, each ``[size, ...]``.
      transform: ``(key, batch) -> batch``.

    Raises:
      TypeError: if `arrays` are not arrays of numbers by name, or `transform` not a function.
      ValueError: if the arrays disagree in length, have no example, or hold a number that is not finite.

    >>> import jax
    >>> import numpy as np
    >>> source = Full({"x": np.arange(3.0)})
    >>> source.take(jax.random.key(0), source.arrays, source.window(7, 1), 0)["x"].tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, arrays: Mapping[str, chex.Array], transform: Transform | None = None) -> None:
        host = checked_arrays(arrays, "arrays")
        self.size = len(next(iter(host.values())))
        if transform is not None:
            require_function(transform, "transform", "(key, batch) -> batch, such as data.binarize()")
        self.arrays: Batch = jax.device_put(host)
        self.transform = transform

    def window(self, first: int, batches: int) -> tuple[()]:
        """Return what `take` needs: nothing. Arguments and errors are those of `Resident.window`."""
        check_window(first, batches)
        return ()

    def take(self, key: Key, arrays: Batch, window: tuple[()], i: Array | int) -> Batch:
        """Return the whole data set, transformed with `key`; the arguments are those of `Resident.take`."""
        del window, i
        return dict(arrays) if self.transform is None else self.transform(key, arrays)
