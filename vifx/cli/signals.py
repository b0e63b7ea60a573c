"""Ctrl-C, SIGTERM and SIGHUP: recorded when they come, acted on, and answered in one line."""

from __future__ import annotations

__all__ = ["Signals"]

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 5.0
"""Seconds for Python to unwind; after them the interruption must have been caught, and the process is ended."""
_SHOW_CURSOR = b"\x1b[?25h\n"


class Signals:
    """What the command does about a signal at the moment; each part of the command sets it.

    The first signal ends the process at once, or raises KeyboardInterrupt where half-written files have to go. The
    second always ends it at once. An interruption that a library swallows ends it, too: as soon as Python reports it,
    else after some seconds. No way out prints a traceback.

    Attributes:
      message: the line that says what has been done and what is to do; nothing is printed without one.
      at_once: whether the first signal ends the process at once, as at first, when there is nothing to tidy.
      number: the signal that came first; None before.
    """

    def __init__(self, message: str) -> None:
        self.message, self.at_once = message, True
        self.number: int | None = None

    def __enter__(self) -> Signals:
        self._before: dict[int, Any] = {}
        self._hook = sys.unraisablehook
        if threading.current_thread() is threading.main_thread():  # elsewhere Python handles no signals
            self._before = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGALRM)}
            sys.unraisablehook = self._unraisable
            for number in _STOPPING:
                if number != signal.SIGHUP or self._before[number] != signal.SIG_IGN:  # as nohup wants it
                    signal.signal(number, self.receive)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.number is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def say(self, message: str, *, at_once: bool = False) -> None:
        """Set what is said about a signal from now on, and whether it ends the process at once."""
        self.message, self.at_once = message, at_once

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Act on a signal.

        Raises:
          KeyboardInterrupt: if it is the first one and Python may unwind.
        """
        del frame
        if self.at_once or self.number is not None:
            self._leave(number)
        self.number = number
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE, _PATIENCE)
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        """End the process if the interruption was raised where Python can only report it, such as in a collection."""
        if self.number is not None and unraisable.exc_type is KeyboardInterrupt:
            self._leave(self.number)
        self._hook(unraisable)

    def _leave(self, number: int) -> NoReturn:
        """End the process without unwinding: neither a library nor a thread has a say."""
        if os.isatty(1):
            os.write(1, _SHOW_CURSOR)
        if self.message:
            os.write(2, f"{self.message}\n".encode())
        os._exit(128 + number)
