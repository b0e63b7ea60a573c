"""Dispatch of the `vifx` command, and what it says when something is wrong."""

from __future__ import annotations

__all__ = ["run"]

import logging
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

from vifx.cli import catalogue, runs
from vifx.cli.console import boxed, discard_output, output, plain_warnings, require_output
from vifx.cli.parse import Failure, HelpShown, UsageError, nearest
from vifx.experiment.file import describe
from vifx.training import CheckpointError, Diverged, Interrupted


class _Command(NamedTuple):
    run: Callable[[Sequence[str]], None]
    usage: str
    about: str


def _commands() -> Mapping[str, _Command]:
    return {
        "train": _Command(runs.train, "FILE [--options]", "train an experiment; FILE --help shows its options"),
        "resume": _Command(runs.resume, "RUN [--steps N]", "continue a run that was stopped, bit for bit"),
        "evaluate": _Command(runs.evaluate, "RUN", "measure a run again, redraw its figures and report"),
        "sample": _Command(runs.sample, "RUN [--n 64] [--temperature 0.8]", "draw images from a trained model"),
        "explain": _Command(
            catalogue.explain_command, "FILE [--options] [--latex]", "derive the objective of an experiment"
        ),
        "list": _Command(catalogue.list_command, "", "list experiments, data sets and every named part"),
        "data": _Command(catalogue.prepare_command, "prepare NAME [--source DIR]", "prepare a data set"),
    }


def run(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` say, show what is wrong, and return the exit code; see `vifx.cli.main`."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax warns of what is meant
    try:
        require_output()
        with plain_warnings():
            _dispatch(arguments)
        sys.stdout.flush()
    except HelpShown:
        return 0
    except UsageError as error:
        boxed(str(error))
        return 2
    except (Diverged, CheckpointError, Failure) as error:
        _leave_output()
        boxed(str(error), title="stopped")
        return 1
    except Interrupted as error:
        command = shlex.join(["vifx", "resume", str(error.directory)])
        boxed(f"saved after update {error.step:,}; continue with: {command}", title="interrupted", style="yellow")
        return 128 + error.signal
    except BrokenPipeError:
        discard_output()
        return 128 + signal.SIGPIPE
    except (Exception, SystemExit) as error:  # whatever it is, it is one line
        _leave_output()
        if "--debug-checks" in arguments:
            traceback.print_exception(error)
        else:
            boxed(f"{describe(error)}{_hint(arguments)}", title="stopped")
        return 1
    return 0


def _leave_output() -> None:
    """Write out what standard output takes, and give up the rest."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        discard_output()


def _hint(arguments: Sequence[str]) -> str:
    """Return how to see where an error comes from."""
    known = arguments[:1] and arguments[0] in ("train", "resume", "evaluate", "sample", "explain")
    return " (--debug-checks shows the traceback)" if known else ""


def _dispatch(arguments: Sequence[str]) -> None:
    commands = _commands()
    name, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        _help(commands)
    elif name == "--version":
        output().print(f"vifx {metadata.version('vifx')}")
    elif name not in commands:
        raise UsageError(
            f"unknown command {name!r}{nearest(name, (*commands, '--help', '--version'))} (see vifx --help)"
        )
    elif rest[:1] in (["-h"], ["--help"]) and name in ("train", "explain", "data"):  # their options come later
        output().print(f"usage: vifx {name} {commands[name].usage}\n\n{commands[name].about}", markup=False)
    else:
        commands[name].run(rest)


def _help(commands: Mapping[str, _Command]) -> None:
    console = output()
    console.print("usage: vifx COMMAND …\n\nDeclare two joint distributions; get pure loss functions.\n", markup=False)
    width = max(len(f"{name} {command.usage}") for name, command in commands.items())
    for name, command in commands.items():
        console.print(f"  {f'{name} {command.usage}':<{width}}  {command.about}", markup=False)
