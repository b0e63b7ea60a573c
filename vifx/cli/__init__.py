"""The `vifx` command; importing this imports nothing heavy, so that a signal is answered from the start."""

from __future__ import annotations

__all__ = ["main", "script"]

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from vifx.cli.answer import Answer


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
    with Answer(_early(arguments)) as answer:
        return _answering(arguments, answer)


def script() -> NoReturn:
    """Run the `vifx` command as a process of its own, whose signals it answers until the process has ended."""
    arguments = sys.argv[1:]
    code = _answering(arguments, Answer(_early(arguments)).__enter__())
    if code > 128:
        os._exit(code)  # an interrupted library may crash as Python tidies up after it, or wait for its threads
    sys.exit(code)


def _early(arguments: Sequence[str]) -> str:
    trains = arguments[:1] in (["train"], ["resume"])
    return "interrupted before training; nothing was saved" if trains else "interrupted"


def _answering(arguments: Sequence[str], answer: Answer) -> int:
    try:
        from vifx.cli.command import run

        code = run(arguments, answer)
        answer.say("" if answer.number is None else answer.message, at_once=True)
    except BaseException as error:  # an interruption may come as another error, of a library
        if answer.number is None and not isinstance(error, KeyboardInterrupt):
            raise
        answer.number = answer.number or signal.SIGINT
        code = 0
    if answer.number is None:
        return code
    message = answer.message
    answer.say("", at_once=True)
    print(message, file=sys.stderr)
    return 128 + answer.number
