"""The `vifx` command; importing this imports nothing heavy, so that a signal is answered from the start."""

from __future__ import annotations

__all__ = ["main", "script"]

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from vifx.cli.signals import Signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `vifx` command and return its exit code.

    0: done. 1: it could not go on: the run diverged, a file could not be written or read, or anything else went
    wrong, which is one line on standard error (with ``--debug-checks`` a traceback). 2: a mistake in the call;
    nothing was written. 129, 130, 143: stopped by SIGHUP, Ctrl-C or SIGTERM; a run that was training is saved.
    141: whoever read the output went away.

    Args:
      arguments: what follows the command's name; those of the process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with Signals(_early(arguments)) as signals:
        return _signalled(arguments, signals)


def script() -> NoReturn:
    """Run the `vifx` command as a process of its own, whose signals it answers until the process has ended."""
    arguments = sys.argv[1:]
    code = _signalled(arguments, Signals(_early(arguments)).__enter__())
    if code > 128 or (code and _of_several()):
        os._exit(code)  # an interrupted library may crash as Python tidies up after it, or wait for its threads
    sys.exit(code)


def _of_several() -> bool:
    """Return whether this process was one of several, whose messages on the way the others may wait for."""
    hosts = sys.modules.get("vifx.training.hosts")
    return hosts is not None and hosts.several()


def _early(arguments: Sequence[str]) -> str:
    trains = arguments[:1] in (["train"], ["resume"])
    return "interrupted before training; nothing was saved" if trains else "interrupted"


def _signalled(arguments: Sequence[str], signals: Signals) -> int:
    try:
        from vifx.cli.command import run

        code = run(arguments, signals)
        signals.say("" if signals.number is None else signals.message, at_once=True)
    except BaseException as error:  # an interruption may come as another error, of a library
        if signals.number is None and not isinstance(error, KeyboardInterrupt):
            raise
        signals.number = signals.number or signal.SIGINT
        code = 0
    if signals.number is None:
        return code
    message = signals.message
    signals.say("", at_once=True)
    print(message, file=sys.stderr)
    return 128 + signals.number
