"""Training data that is one minibatch: the whole data set at every update."""

from __future__ import annotations

__all__ = ["Full", "Whole"]

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import chex
import jax

from vifx.checks import require_function
from vifx.core.types import Array, Batch, Key, PyTree
from vifx.data.arrays import checked_arrays
from vifx.data.order import check_window
from vifx.data.transforms import Transform


@dataclass(frozen=True)
class Whole:
    """How a minibatch that is the whole data set is taken: the part of `Full` that a program is compiled for.

    Attributes:
      transform: ``(key, batch) -> batch``, or None.
    """

    transform: Transform | None

    def take(self, key: Key, arrays: Batch, window: tuple[()], i: Array | int) -> Batch:
        """Return the whole data set, transformed with `key`; pure, to be called inside jit.

        Args:
          arrays: `Full.arrays`, an argument so that they are not compiled in as constants.
          window: from `Full.window`.
          i: which minibatch; they are all the same but for the noise.
        """
        del window, i
        return dict(arrays) if self.transform is None else self.transform(key, arrays)


class Full:
    """A source whose every minibatch is the whole data set, in its own order: for EM, and for full gradients.

    Nothing is permuted or gathered, which for 60,000 examples takes longer than an iteration of EM. On a mesh whose
    devices do not divide the examples, `training.fit` adds rows of weight zero, which count for nothing. A step is
    compiled once for all data of the same shapes and transform.

    Attributes:
      arrays: the examples on the device, each ``[size, ...]``.
      size: the number of examples.
      recipe: how a minibatch is taken from the arrays.

    Args:
      arrays: by variable, each ``[size, ...]``.
      transform: applied at each update inside jit: ``(key, batch) -> batch``.

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
        self.recipe = Whole(transform)

    def window(self, first: int, batches: int) -> tuple[()]:
        """Return what `take` needs: nothing. Arguments and errors are those of `Resident.window`."""
        check_window(first, batches)
        return ()

    def take(self, key: Key, arrays: Batch, window: tuple[()], i: Array | int) -> Batch:
        """Return the whole data set, transformed with `key`: see `Whole.take`."""
        return self.recipe.take(key, arrays, window, i)

    def with_features(self, features: Mapping[str, PyTree]) -> Full:
        """Return the same source with entries computed once, such as ``"x@features"``.

        Args:
          features: by entry, trees of arrays ``[size, ...]``.
        """
        source = copy.copy(self)
        source.arrays = {**self.arrays, **features}
        return source
