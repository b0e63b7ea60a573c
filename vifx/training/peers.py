"""Signs of life between the processes of a run, and the end of a run that has lost one."""

from __future__ import annotations

__all__ = ["BEAT", "DEAD_AFTER", "describe", "leave", "watch"]

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax

BEAT = 1.0
"""Seconds between two signs of life."""
DEAD_AFTER = 12.0
"""Seconds without one after which a process counts as lost."""
_ALIVE, _HOST, _LEFT = "vifx/alive/", "vifx/host/", "vifx/left/"


def describe(client: Any, index: int, count: int) -> str:
    """Return how messages name a process: "process 1 of 4 (node07, pid 4711)"."""
    return f"process {index} of {count} ({_found(client, _HOST).get(index, 'unknown host')})"


def watch(client: Any, index: int, count: int) -> Callable[[], None]:
    """Give signs of life from now on, and end this process when another one is lost.

    A process is lost if it has left with an error, or gave no sign of life for `DEAD_AFTER` seconds by this process's
    own clock. Then one line on standard error names it, and this process exits with 1: it may hang in a computation
    that the lost one takes part in, so nothing is unwound. What was saved before is whole.

    Returns:
      A function that ends the watch.
    """
    client.key_value_set(f"{_HOST}{index}", f"{socket.gethostname()}, pid {os.getpid()}")
    client.key_value_increment(f"{_ALIVE}{index}", 1)
    over = threading.Event()
    thread = threading.Thread(target=_watching, args=(client, index, count, over), name="vifx-peers", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    return end


def leave(client: Any, index: int, reason: str) -> None:
    """Say that this process ends, and why if it is an error: the others end then, too."""
    client.key_value_set(f"{_LEFT}{index}", json.dumps(reason))


def _watching(client: Any, index: int, count: int, over: threading.Event) -> None:
    names = {other: f"process {other} of {count}" for other in range(count)}
    beats: dict[int, str] = {}
    since = dict.fromkeys(range(count), time.monotonic())
    while not over.wait(BEAT):
        try:
            client.key_value_increment(f"{_ALIVE}{index}", 1)
            names |= {other: f"process {other} of {count} ({host})" for other, host in _found(client, _HOST).items()}
            left = {other: json.loads(reason) for other, reason in _found(client, _LEFT).items()}
            alive = _found(client, _ALIVE)
        except jax.errors.JaxRuntimeError:  # what process 0 keeps does not answer
            _end(f"{names[0]}, which the others find each other by, is gone")
        now = time.monotonic()
        for other in range(count):
            if other in left or alive.get(other) != beats.get(other):
                since[other] = now
        beats = alive
        errors = {other: reason for other, reason in left.items() if reason and other != index}
        if errors and not over.wait(3 * BEAT):  # an error that all have is better said by each
            other = min(errors)
            _end(f"{names[other]} has stopped: {errors[other]}")
        for other, last in since.items():
            if other != index and now - last > DEAD_AFTER:
                _end(f"{names[other]} is gone: it gave no sign of life for {DEAD_AFTER:.0f} s")


def _found(client: Any, folder: str) -> dict[int, str]:
    return {int(name.removeprefix(folder)): value for name, value in client.key_value_dir_get(folder)}


def _end(sentence: str) -> NoReturn:
    line = f"stopped: {sentence}; what was saved before is whole, and the run can be resumed\n"
    if sys.stderr is not None:
        os.write(2, line.encode())
    os._exit(1)
