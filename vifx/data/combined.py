"""Several sources at once: labelled and unlabelled examples, each with its own number in a minibatch."""

from __future__ import annotations

__all__ = ["Combined"]

from typing import Any

import jax

from vifx.checks import require
from vifx.core.types import Array, Batch, Key
from vifx.data.full import Full
from vifx.data.resident import Resident


class Combined:
    """A source whose minibatches have the entries of several resident sources side by side.

    Each source keeps its own number of examples in a minibatch, its own epochs, order and transform: in semi-supervised
    learning ``Combined(Resident(labelled, 20, 0), Resident(unlabelled, 100, 1))`` sees the few labelled examples many
    times while it goes once through the others. Minibatch t is minibatch t of each, so it is a function of the seeds
    and t as that of `Resident` is; transforms draw from ``fold_in(key, position)``. On a mesh the examples of
    every source must divide over the devices.

    Attributes:
      sources: what it combines, in order.
      arrays: the examples of all of them on the device, by entry.

    Args:
      *sources: `Resident` or `Full`, without an entry in common.

    Raises:
      TypeError: if something is not such a source.
      ValueError: if there are fewer than two, two have an entry of the same name, or one has weights of examples.

    >>> import jax
    >>> import numpy as np
    >>> labelled = Resident({"x": np.arange(4.0), "y": np.arange(4)}, 2, 0)
    >>> source = Combined(labelled, Resident({"more_x": np.arange(100.0)}, 5, 1))
    >>> batch = source.take(jax.random.key(0), source.arrays, source.window(0, 1), 0)
    >>> {name: value.shape for name, value in sorted(batch.items())}
    {'more_x': (5,), 'x': (2,), 'y': (2,)}
    """

    def __init__(self, *sources: Resident | Full) -> None:
        fix = "give data.Resident(...) and data.Full(...); a stream of its own is not combined"
        for source in sources:
            require(source, (Resident, Full), "Combined: a source", "a Resident or Full source", fix)
        if len(sources) < 2:
            raise ValueError(f"Combined needs at least two sources, got {len(sources)}; one is a source by itself.")
        self.sources = sources
        self.arrays: Batch = {}
        for source in sources:
            for name, array in source.arrays.items():
                if name in self.arrays:
                    raise ValueError(
                        f"Combined: two sources have an entry {name!r}; give one of them another name, such as "
                        f"'more_{name}', and read it by evidence({name}='more_{name}')."
                    )
                if name.startswith("@"):
                    raise ValueError(
                        f"Combined: the entry {name!r} would be of the examples of every source; weigh the objectives "
                        "of the sources instead, as in 2.0 * labelled + unlabelled."
                    )
                self.arrays = {**self.arrays, name: array}

    def window(self, first: int, batches: int) -> tuple[Any, ...]:
        """Return the window of each source; arguments and errors are those of `Resident.window`."""
        return tuple(source.window(first, batches) for source in self.sources)

    def take(self, key: Key, arrays: Batch, window: tuple[Any, ...], i: Array | int) -> Batch:
        """Return minibatch ``first + i`` of every source, transformed; the arguments are those of `Resident.take`.

        Raises:
          ValueError: if a transform makes an entry that another source has.
        """
        batch: Batch = {}
        for position, (source, its_window) in enumerate(zip(self.sources, window, strict=True)):
            own = {name: arrays[name] for name in source.arrays}
            taken = source.take(jax.random.fold_in(key, position), own, its_window, i)
            if shared := sorted(batch.keys() & taken.keys()):
                raise ValueError(f"Combined: two sources make an entry {shared[0]!r}; let their transforms differ.")
            batch = {**batch, **taken}
        return batch
