"""What a source of minibatches is, on the device or read by the host."""

from __future__ import annotations

__all__ = ["ResidentSource", "Source", "StreamingSource", "require_source"]

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from vifx.checks import described
from vifx.core.types import Array, Batch, Key, PyTree


@runtime_checkable
class ResidentSource(Protocol):
    """Examples that lie on the device: `vifx.data.Resident` is one."""

    arrays: Batch

    def window(self, first: int, batches: int) -> PyTree:
        """Return the order of minibatches `first` to ``first + batches − 1``."""
        ...

    def take(self, key: Key, arrays: Batch, window: Any, i: Array | int) -> Batch:
        """Return minibatch ``first + i`` of a window, transformed with `key`; pure."""
        ...


@runtime_checkable
class StreamingSource(Protocol):
    """Examples that the host reads: `vifx.data.Streaming` is one."""

    transform: Callable[[Key, Batch], Batch] | None

    def batches(self, first: int, *, host: int = 0, hosts: int = 1) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield minibatches `first`, ``first + 1``, … for ever, not yet transformed.

        Of each, host h of H yields its share alone, rows [h·B/H, (h + 1)·B/H) of B.
        """
        ...


Source: TypeAlias = ResidentSource | StreamingSource


def require_source(source: Source, caller: str) -> Source:
    """Return a source of minibatches, checked for a `caller`.

    Raises:
      TypeError: if it is something else, such as a dataset or an array.
    """
    if isinstance(source, type) or not isinstance(source, ResidentSource | StreamingSource):
        arrays = "dataset.train" if hasattr(source, "train") else "batch" if isinstance(source, Mapping) else '{"x": x}'
        raise TypeError(
            f"{caller}: source must be a source of minibatches, got {described(source)}; give "
            f"data.Resident({arrays}, batch_size=128, seed=0), data.Full({arrays}), data.Streaming(...) or, without "
            "evidence, data.Unobserved()."
        )
    return source
