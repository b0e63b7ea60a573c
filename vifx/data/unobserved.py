"""The source of an objective without evidence."""

from __future__ import annotations

__all__ = ["Unobserved"]

from vifx.core.types import Array, Batch, Key
from vifx.data.order import check_window


class Unobserved:
    """A source of empty minibatches, for joints that have no evidence.

    Variational inference of a target density draws everything that it needs:
    ``kl(Joint(transformed("z", ...)), Joint(target("z", f)), samples=256)`` is fitted on
    ``Unobserved()``.

    Attributes:
      arrays: none.

    Example:
      >>> import jax
      >>> source = Unobserved()
      >>> source.take(jax.random.key(0), source.arrays, source.window(0, 1), 0)
      {}
    """

    def __init__(self) -> None:
        self.arrays: Batch = {}

    def window(self, first: int, batches: int) -> tuple[()]:
        """Return what `take` needs: nothing. Arguments and errors are those of `Resident.window`."""
        check_window(first, batches)
        return ()

    def take(self, key: Key, arrays: Batch, window: tuple[()], i: Array | int) -> Batch:
        """Return an empty minibatch."""
        del key, arrays, window, i
        return {}
