"""Processes that read examples, for those that are decoded in Python."""

from __future__ import annotations

__all__ = ["Workers"]

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, NamedTuple

import jax
import numpy as np

from vifx.data.rows import Examples, stacked

_PATIENCE = 5.0


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class Workers:
    """Processes that each have a copy of a source and read chosen examples of it; a context manager.

    A process ends when its end of a pipe is closed, which it also is when the process that started it is killed. It
    hears no signals: a Ctrl-C, or a SIGTERM to a whole group, is left to the process that trains.

    Args:
      source: a random-access sequence of examples that can be pickled.
      count: how many processes there are.

    Raises:
      TypeError: if `source` cannot be pickled.
    """

    def __init__(self, source: Examples, count: int) -> None:
        try:
            content = pickle.dumps(source)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"source must be something that can be pickled, since worker processes read it, but: {error}; or leave "
                "workers at 0, for threads"
            ) from error
        context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._end = util.Finalize(self, _end, args=(self._workers,), exitpriority=10)
        with _signals_blocked():  # a process inherits that
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs,), name="vifx-data")
                process.start()
                theirs.close()
                self._workers.append(_Worker(process, ours))
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            _sent(worker, content)
            self._idle.put(worker)

    def read(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Return the examples at `indices`, stacked and not checked, by a process that is idle; any thread may call it.

        Raises:
          RuntimeError: if the process has ended.
          Exception: what reading raised there.
        """
        worker = self._idle.get()
        try:
            _sent(worker, pickle.dumps(indices))
            found = _answer(worker)
        finally:
            self._idle.put(worker)
        if isinstance(found, BaseException):
            raise found
        return found

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    resource_tracker.ensure_running()  # else it is started with the first process, and unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join(_PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
    workers.clear()


def _sent(worker: _Worker, content: bytes) -> None:
    try:
        worker.connection.send_bytes(content)
    except OSError as error:
        raise _ended(worker) from error


def _answer(worker: _Worker) -> dict[str, np.ndarray] | BaseException:
    try:
        return worker.connection.recv()
    except (EOFError, OSError) as error:
        raise _ended(worker) from error


def _ended(worker: _Worker) -> RuntimeError:
    worker.process.join(_PATIENCE)
    return RuntimeError(
        f"a worker process that reads examples has ended by itself, with exit code {worker.process.exitcode} (what it "
        'wrote stands above); a script with workers must begin to train under `if __name__ == "__main__":`'
    )


def _serve(connection: Connection) -> None:
    """Read what is asked for, in a process of its own, until nobody can ask any more."""
    jax.config.update("jax_platforms", "cpu")  # accelerators belong to the process that trains
    with ThreadPoolExecutor(1) as pool:  # whose results are values or errors
        source = None
        while (content := _received(connection)) is not None:
            if source is None:
                source = pool.submit(_loaded, content)
                continue
            found = pool.submit(lambda loaded, rows: stacked(loaded.result(), pickle.loads(rows)), source, content)
            error = found.exception()
            answer = found.result() if error is None else _portable(error, pool)
            try:
                connection.send(answer)
            except OSError:  # nobody listens any more
                return


def _received(connection: Connection) -> bytes | None:
    try:
        return connection.recv_bytes()
    except (EOFError, OSError):
        return None


def _loaded(content: bytes) -> Any:
    try:
        return pickle.loads(content)
    except Exception as error:
        raise TypeError(
            f"source must be something that a worker process can load, but: {type(error).__name__}: {error}; define "
            "its class in a module that can be imported, not in a notebook or an experiment file, or leave workers at 0"
        ) from error


def _portable(error: BaseException, pool: ThreadPoolExecutor) -> BaseException:
    """Return an error that can be sent, with the place where it was raised as a note."""
    place = f"in a worker process:\n{''.join(traceback.format_exception(error))}"
    lost = pool.submit(lambda: pickle.loads(pickle.dumps(error))).exception()
    if lost is not None:  # a class with other arguments than its message, say
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(place)
    return error
