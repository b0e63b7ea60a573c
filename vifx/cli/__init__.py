"""The `vifx` command."""

from __future__ import annotations

__all__ = ["main"]

import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `vifx` command and return its exit code.

    0: done. 1: the run could not go on: it diverged, or a checkpoint could not be written or read. 2: a
    mistake in the call; nothing was written. 130, 143: stopped by Ctrl-C or SIGTERM; a run that was training
    is saved. 141: whoever read the output went away.

    Args:
      arguments: what follows the command's name; those of the process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    number = signal.SIGINT

    def stop(received: int, frame: FrameType | None) -> None:
        del frame
        nonlocal number
        number = signal.Signals(received)
        raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread()  # elsewhere Python handles no signals
    before = signal.signal(signal.SIGTERM, stop) if here else None
    try:
        from vifx.cli.command import run  # takes a moment, in which Ctrl-C must be answered too

        return run(arguments)
    except KeyboardInterrupt as error:
        trains = arguments[:1] in (["train"], ["resume"])
        early = "interrupted before training; nothing was saved" if trains else "interrupted"
        print(str(error) or early, file=sys.stderr)
        return 128 + number
    finally:
        if here:
            signal.signal(signal.SIGTERM, before)
