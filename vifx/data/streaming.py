"""Training data that does not fit the device: minibatches are read and prefetched on the host."""

from __future__ import annotations

__all__ = ["Streaming"]

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count

import numpy as np

from vifx.checks import ArgumentError, require_function, require_integer
from vifx.data.opened import Opened
from vifx.data.order import check_batching, epoch_order
from vifx.data.rows import Source, checked_examples, length, stacked
from vifx.data.transforms import Transform
from vifx.data.workers import Workers


class Streaming:
    """A source of minibatches read from random-access storage, in the order of `Resident`.

    Minibatch t has the same examples as that of `Resident` with the same seed, so training resumes at any
    t without iterator state. Threads, or processes, read ahead; the transform is *not* applied, since it belongs
    inside the compiled step: `source.transform(key, batch)`.

    The source does not know where it runs. On several hosts each reads its own rows of every minibatch, which
    `batches` is told: so a run may go on at any minibatch on another number of hosts.

    Attributes:
      size: the number of examples N.
      batch_size: the number of examples B in a minibatch, over all hosts.
      seed: what, with the epoch, decides the order.
      transform: to be applied to each minibatch inside jit, or None.

    Args:
      source: arrays by variable (memory-mapped ones too), or a random-access sequence of examples, or a split of them.
      batch_size: see above.
      seed: see above.
      transform: see above.
      threads: how many minibatches are read at a time.
      prefetch: how many minibatches are read or waiting to be used, at most; with workers, twice as many as they are
        if that is more.
      workers: processes that read in place of the threads, for examples that are decoded in Python, which keeps one
        process busy; 0 for none. Each has a copy of the source, which must be one that can be pickled.

    Raises:
      TypeError: if an argument is of another kind.
      ValueError: if a batch is larger than the data, or a setting is out of range.

    Example:
      >>> import numpy as np
      >>> source = Streaming({"x": np.arange(6.0)}, batch_size=3, seed=0)
      >>> batches = source.batches(0)
      >>> sorted(np.concatenate([next(batches)["x"], next(batches)["x"]]).tolist())
      [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
      >>> batches.close()
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
        workers: int = 0,
    ) -> None:
        source = source.examples if isinstance(source, Opened) else source
        self.size = length(source)
        check_batching(self.size, batch_size, seed)
        if transform is not None:
            require_function(transform, "transform", "(key, batch) -> batch, such as data.binarize()")
        for name, number in (("threads", threads), ("prefetch", prefetch)):
            require_integer(number, name)
        require_integer(workers, "workers", least=0)
        if workers and isinstance(source, Mapping):
            sentence = f"must be 0 for arrays, which threads read as fast, got {workers}"
            raise ArgumentError("workers", sentence, value=workers)
        self.batch_size = batch_size
        self.seed = seed
        self.transform = transform
        self._source = source
        self._threads = threads
        self._prefetch = prefetch
        self._workers = workers
        self._lock = threading.Lock()
        self._orders: dict[int, np.ndarray] = {}

    def batches(self, first: int, *, host: int = 0, hosts: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """Yield minibatches `first`, `first + 1`, … for ever: arrays `[B / hosts, ...]`.

        Host h of H reads rows [h·B/H, (h + 1)·B/H) of each, so that the shares of all hosts, one after the other, are
        the minibatch of one host.

        The first one is read at once, and those behind it ahead of their use from the second one on. Closing the
        iterator, or dropping it, ends its threads and processes. An exception while reading is raised here, with a
        note that says which minibatch it was.

        Args:
          first: the number of the first minibatch.
          host: which host this is.
          hosts: how many hosts there are.

        Raises:
          TypeError: if a number is not an integer.
          ValueError: if `first` is negative, there is no such host, or the minibatch does not divide over the hosts.
          RuntimeError: from the iterator, if a process that reads has ended by itself.
        """
        require_integer(first, "batches: first", least=0)
        require_integer(hosts, "batches: hosts")
        require_integer(host, "batches: host", least=0, most=hosts - 1)
        share, rest = divmod(self.batch_size, hosts)
        if rest:
            fix = f"choose {' or '.join(str(n) for n in (share * hosts, (share + 1) * hosts) if n)}"
            sentence = f"must be a multiple of the {hosts} hosts, got {self.batch_size} (remainder {rest}); {fix}"
            raise ArgumentError("batch_size", sentence, value=self.batch_size)
        return self._prefetched(first, slice(host * share, (host + 1) * share))

    def _prefetched(self, first: int, share: slice) -> Iterator[dict[str, np.ndarray]]:
        # The first one is read here, so that who wants no other, as to initialize networks, starts no threads.
        rows = self._indices(first)[share]
        yield self._checked(first, rows, partial(stacked, self._source, rows))
        pending: deque[tuple[np.ndarray, Future[dict[str, np.ndarray]]]] = deque()
        with ExitStack() as closing:
            read, threads = partial(stacked, self._source), self._threads
            if self._workers and not isinstance(self._source, Mapping):
                read, threads = closing.enter_context(Workers(self._source, self._workers)).read, self._workers
            pool = closing.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="vifx-data"))
            closing.callback(pool.shutdown, wait=False, cancel_futures=True)
            ordered = -1
            for minibatch in count(first + 1):
                while len(pending) < max(self._prefetch, 2 * self._workers):
                    rows = self._indices(minibatch + len(pending))[share]
                    pending.append((rows, pool.submit(read, rows)))
                following = minibatch * self.batch_size // self.size + 1
                if following > ordered:  # a permutation of millions takes seconds
                    pool.submit(self._order, following)
                    ordered = following
                rows, reading = pending.popleft()
                yield self._checked(minibatch, rows, reading.result)

    def _checked(
        self, minibatch: int, rows: np.ndarray, read: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        try:
            # Checked here and not in the reading thread, where jax.enable_x64 of this thread does not apply.
            return checked_examples(read(), rows)
        except Exception as error:
            error.add_note(f"while reading minibatch {minibatch}")
            raise

    def _indices(self, minibatch: int) -> np.ndarray:
        epoch, start = divmod(minibatch * self.batch_size, self.size)
        stream = self._order(epoch)
        if start + self.batch_size > self.size:
            stream = np.concatenate([stream, self._order(epoch + 1)])
        return stream[start : start + self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._orders:
                kept = {e: order for e, order in self._orders.items() if abs(e - epoch) == 1}
                self._orders = {**kept, epoch: np.asarray(epoch_order(self.seed, epoch, size=self.size))}
            return self._orders[epoch]
