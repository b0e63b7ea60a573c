"""Ctrl-C, SIGTERM and SIGHUP: finish, save, then stop."""

from __future__ import annotations

__all__ = ["Interrupted", "deferred_signals"]

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """Training was stopped by a signal, after it had saved.

    Attributes:
      step: how many updates have been made.
      directory: where the run was saved; None if it has no directory, so that nothing is.
      signal: the signal's number; a command conventionally exits with 128 + it.
    """

    def __init__(self, step: int, directory: Path | None, signal: int) -> None:
        self.step, self.directory, self.signal = step, directory, signal
        where = f"saved in {directory}; call fit again to go on" if directory else "nothing saved: no directory given"
        super().__init__(f"interrupted after update {step}, {where}")


@contextmanager
def deferred_signals() -> Iterator[Callable[[], int | None]]:
    """Note the first SIGINT, SIGTERM or SIGHUP instead of dying of it.

    The second goes to the handler of before, if there was one; if that returns, it raises KeyboardInterrupt, which is
    what Python's own handler of SIGINT does.

    Yields a function that returns the signal noted, or None. The handlers of before are put back at the end. A SIGHUP
    that is ignored, as under nohup, stays ignored. Outside the main thread, where Python handles no signals, it changes
    nothing.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if len(noted) > 1:
            handler = before[number]
            if callable(handler):
                handler(number, frame)
            raise KeyboardInterrupt

    def first() -> int | None:
        return noted[0] if noted else None

    if threading.current_thread() is not threading.main_thread():
        yield first
        return
    stopping = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        stopping.append(signal.SIGHUP)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in stopping}
    try:
        for number in stopping:
            signal.signal(number, note)
        yield first
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
