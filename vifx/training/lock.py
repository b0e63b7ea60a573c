"""The right to write in a directory: one command at a time, of however many processes."""

from __future__ import annotations

__all__ = ["locked"]

import fcntl
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import jax

from vifx.training import hosts
from vifx.training.errors import CheckpointError, HostsError

_NAME = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make a directory and hold its lock, which ends with the process; of several processes, process 0 holds it.

    Raises:
      CheckpointError: if it cannot be made or written, or another command holds the lock.
      HostsError: in a process that does not see the directory of process 0.
    """
    with ExitStack() as stack:
        token = hosts.broadcast(partial(_claim, directory, stack), f"the lock of {directory}")
        lock = directory / _NAME
        if jax.process_index() > 0 and not (lock.is_file() and lock.read_text(encoding="utf-8") == token):
            raise HostsError(
                f"{directory}: process {jax.process_index()} of {jax.process_count()} does not see what process 0 "
                "writes there; give a directory on a file system that all hosts share"
            )
        yield


def _claim(directory: Path, stack: ExitStack) -> str:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((directory / _NAME).open("ab"))
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be written ({error.strerror}); choose another directory") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CheckpointError(
            f"{directory}: another process is training in this directory; wait for it, stop it, "
            "or choose another directory"
        ) from error
    token = "" if jax.process_count() == 1 else uuid.uuid4().hex
    if token:
        lock.truncate(0)
        lock.write(token.encode())
        lock.flush()
    return token
