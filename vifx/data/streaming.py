"""Training data that does not fit the device: minibatches are read and prefetched on the host."""

from __future__ import annotations

__all__ = ["Streaming"]

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from vifx.checks import require_function, require_integer
from vifx.data.order import check_batching, epoch_order
from vifx.data.rows import Source, checked_examples, length, stacked
from vifx.data.transforms import Transform


class Streaming:
    """A source of minibatches read from random-access storage, in the order of `Resident`.

    Minibatch t has the same examples as that of `Resident` with the same seed, so training resumes at any
    t without iterator state. Threads read ahead; the transform is *not* applied, since it belongs inside
    the compiled step: `source.transform(key, batch)`.

    On several hosts each reads its own rows of every minibatch: host h of H reads rows
    [h·B/H, (h + 1)·B/H).

    Attributes:
      size: the number of examples N.
      batch_size: the number of examples B in a minibatch, over all hosts.
      seed: what, with the epoch, decides the order.
      transform: to be applied to each minibatch inside jit, or None.

    Args:
      source: arrays by variable (memory-mapped ones too), or a random-access sequence of examples.
      batch_size: see above.
      seed: see above.
      transform: see above.
      threads: how many minibatches are read at a time.
      prefetch: how many minibatches are read or waiting to be used, at most.
      host: which host this is.
      hosts: how many hosts there are.

    Raises:
      TypeError: if an argument is of another kind.
      ValueError: if a batch is larger than the data, or a setting is out of range.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int,
        transform: Transform | None = None,
        *,
        threads: int = 4,
        prefetch: int = 8,
        host: int = 0,
        hosts: int = 1,
    ) -> None:
        self.size = length(source)
        check_batching(self.size, batch_size, seed)
        if transform is not None:
            require_function(transform, "transform", "(key, batch) -> batch, such as data.binarize()")
        for name, number in (("threads", threads), ("prefetch", prefetch), ("hosts", hosts)):
            require_integer(number, name)
        require_integer(host, "host", least=0, most=hosts - 1)
        if batch_size % hosts:
            raise ValueError(f"batch_size must be a multiple of the {hosts} hosts, got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self.transform = transform
        self._source = source
        self._threads = threads
        self._prefetch = prefetch
        self._rows = slice(host * batch_size // hosts, (host + 1) * batch_size // hosts)
        self._orders: dict[int, np.ndarray] = {}

    def batches(self, first: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield minibatches `first`, `first + 1`, … for ever: arrays `[B / hosts, ...]`.

        Closing the iterator, or dropping it, ends its threads. An exception while reading is raised
        here, with a note that says which minibatch it was.

        Raises:
          TypeError: if `first` is not an integer.
          ValueError: if it is negative.
        """
        require_integer(first, "batches: first", least=0)
        return self._prefetched(first)

    def _prefetched(self, first: int) -> Iterator[dict[str, np.ndarray]]:
        pending: deque[tuple[np.ndarray, Future[dict[str, np.ndarray]]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="vifx-data") as pool:
            try:
                minibatch = first
                while True:
                    while len(pending) < self._prefetch:
                        rows = self._indices(minibatch + len(pending))
                        pending.append((rows, pool.submit(stacked, self._source, rows)))
                    rows, reading = pending.popleft()
                    try:
                        # Here and not in the reading thread, where jax.enable_x64 of this thread does not apply.
                        batch = checked_examples(reading.result(), rows)
                    except Exception as error:
                        error.add_note(f"while reading minibatch {minibatch}")
                        raise
                    yield batch
                    minibatch += 1
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _indices(self, minibatch: int) -> np.ndarray:
        epoch, start = divmod(minibatch * self.batch_size, self.size)
        stream = self._order(epoch)
        if start + self.batch_size > self.size:
            stream = np.concatenate([stream, self._order(epoch + 1)])
        return stream[start : start + self.batch_size][self._rows]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = np.asarray(epoch_order(self.seed, epoch, size=self.size))
        return self._orders[epoch]
