"""Dispatch of the `vifx` command, and its messages when something is wrong."""

from __future__ import annotations

__all__ = ["run"]

import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import vifx
from vifx.checks import nearest
from vifx.cli.console import boxed, discard_output, output, plain_warnings, require_output
from vifx.cli.parse import Failure, HelpShown, UsageError
from vifx.cli.signals import Signals
from vifx.training.errors import CheckpointError, Diverged, HostsError
from vifx.training.interrupt import Interrupted

_SETTINGS = (
    "jax_enable_x64",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_enable_xla_caches",
)
"""The settings of JAX that a command may change."""


class _Command(NamedTuple):
    run: Callable[[Sequence[str]], None]
    usage: str
    about: str


def _commands(signals: Signals) -> Mapping[str, _Command]:
    later = partial(_later, signals)
    train, resume = partial(later, "runs.train", None, told=True), partial(later, "runs.resume", "resume", told=True)
    evaluate, sample = partial(later, "runs.evaluate", "evaluate"), partial(later, "runs.sample", "sample")
    ask, export = partial(later, "ask.answer", "answer"), partial(later, "exporting.export_command", "export")
    certify = partial(later, "certifying.certify_command", "certify")
    explain, parts = partial(later, "inspection.explain_command", None), partial(later, "listing.list_command", None)
    cost, copy = partial(later, "compilation.compile_command", None), partial(later, "copying.copy_command", "copy")
    new = partial(later, "creating.new_command", "new")
    prepare = partial(later, "inspection.prepare_command", "data")
    sweep = partial(later, "sweeping.sweep_command", None, told=True)
    compare = partial(later, "comparing.compare_command", "compare")
    watch = partial(later, "watching.watch_command", "watch")
    benchmark = partial(later, "benchmarking.benchmark_command", "benchmark", told=True)
    verify = partial(later, "verifying.verify_command", "checkpoint")
    completion = partial(later, "completion.completion_command", "completion")
    return {
        "train": _Command(train, "FILE [--options]", "train an experiment; FILE --help shows its options"),
        "resume": _Command(resume, "RUN [--steps N]", "continue a run that was stopped, bit for bit"),
        "evaluate": _Command(evaluate, "RUN", "measure a run again, redraw its figures and report"),
        "sample": _Command(sample, "RUN [--n 64] [--temperature 0.8]", "draw images from a trained model"),
        "certify": _Command(
            certify, "RUN [--examples 100] [--noise σ]", "bound log q(x) of test examples from both sides"
        ),
        "export": _Command(export, "RUN [--out FILE]", "write a trained model as one file that plain JAX can run"),
        "answer": _Command(ask, 'RUN --question "…" --passages FILE …', "answer a question with a trained reader"),
        "explain": _Command(explain, "FILE [--options] [--latex]", "derive the objective of an experiment"),
        "compile": _Command(
            cost,
            "FILE [--options] [--topology v5e-8]",
            "say what a training step costs each device, without running it",
        ),
        "list": _Command(parts, "", "list experiments, data sets and every named part"),
        "sweep": _Command(sweep, "FILE --grid latent=8,16 --seeds 3", "train a grid of options with several seeds"),
        "compare": _Command(compare, "RUN RUN …", "show runs side by side: what differs, and what was measured"),
        "benchmark": _Command(
            benchmark, "NAME [--minutes 10] [--seeds 3]", "train families of models for the same time, in one table"
        ),
        "watch": _Command(watch, "RUN [--port N]", "show a run that is under way in a browser of this machine"),
        "copy": _Command(copy, "NAME [--out FILE]", "write an experiment that came with vifx as a file to edit"),
        "new": _Command(new, "NAME [--out FILE]", "write an experiment that runs as it is, to be edited"),
        "checkpoint": _Command(verify, "verify RUN", "read every checkpoint, and say which are whole"),
        "data": _Command(prepare, "prepare NAME [--source DIR]", "prepare a data set"),
        "completion": _Command(completion, "bash|zsh|fish", "print a script that lets a shell complete all this"),
    }


def _later(
    signals: Signals, function: str, options: str | None, arguments: Sequence[str], *, told: bool = False
) -> None:
    """Import a function of this package and run it.

    Args:
      options: the command whose options the arguments are; they are read before the import, so that a mistake is
        reported at once. None if the function reads them itself.
      told: whether the function itself says what happens at a signal.

    Raises:
      KeyboardInterrupt: after a signal.
      Exception: from the function.
    """
    given = _part("options", "read_options")(options, arguments) if options else arguments
    run = _part(*function.split("."))
    signals.say(signals.message)  # from here on there may be something to tidy up
    try:
        run(given, signals) if told else run(given)
    except Exception as error:
        if signals.number is not None:  # a library has turned the interruption into an error of its own
            raise KeyboardInterrupt from error
        raise


def _part(module: str, name: str) -> Callable[..., Any]:
    return getattr(import_module(f"vifx.cli.{module}"), name)


def run(arguments: Sequence[str], signals: Signals) -> int:
    """Run the command that `arguments` say, show what is wrong, and return the exit code; see `vifx.cli.main`."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax warns about what is intended, and says errors twice
    try:
        require_output()
        with plain_warnings(), _own_settings():
            _dispatch(arguments, signals)
        sys.stdout.flush()
    except HelpShown:
        return 0
    except UsageError as error:
        _tell_others(error)
        boxed(str(error))
        return 2
    except (Diverged, CheckpointError, HostsError, Failure) as error:
        _tell_others(error)
        _leave_output()
        boxed(str(error), title="stopped")
        return 1
    except Interrupted as error:
        sentence = "a fit that saves nothing was under way; run the command again"
        if error.directory is not None:
            command = shlex.join(["vifx", "resume", str(error.directory)])
            sentence = f"saved after update {error.step:,}; continue with: {command}"
        if not _follows():
            boxed(sentence, title="interrupted", style="yellow")
        return 128 + error.signal
    except BrokenPipeError:
        discard_output()
        return 128 + signal.SIGPIPE
    except (Exception, SystemExit) as error:  # every other error becomes one line
        _tell_others(error)
        _leave_output()
        from vifx.experiment.file import describe

        if "--debug-checks" in arguments:
            traceback.print_exception(error)
        else:
            boxed(f"{describe(error)}{_hint(arguments)}", title="stopped")
        return 1
    return 0


def _tell_others(error: BaseException) -> None:
    """Tell the other processes of a run, if there are any, why this one ends."""
    if hosts := sys.modules.get("vifx.training.hosts"):
        hosts.leave(str(error) or type(error).__name__)


def _follows() -> bool:
    """Return whether process 0 says it."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.process_index() > 0


@contextmanager
def _own_settings() -> Iterator[None]:
    """Set JAX's settings back to what a process had that has JAX already; another process ends with the command."""
    settings = getattr(sys.modules.get("jax"), "config", None)
    before = {} if settings is None else {name: getattr(settings, name) for name in _SETTINGS}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA doubts the processor of the programs that it has kept
    try:
        yield
    finally:
        if programs := sys.modules.get("vifx.experiment.programs"):
            programs.publish_programs(last=True)
        for name, value in before.items():
            if settings is not None and getattr(settings, name) != value:
                settings.update(name, value)


def _leave_output() -> None:
    """Flush standard output as far as possible, and discard the rest."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        discard_output()


def _hint(arguments: Sequence[str]) -> str:
    """Return how to see where an error comes from."""
    known = arguments[:1] and arguments[0] in (
        "train",
        "resume",
        "evaluate",
        "sample",
        "certify",
        "export",
        "answer",
        "explain",
        "compile",
    )
    return " (--debug-checks shows the traceback)" if known else ""


def _dispatch(arguments: Sequence[str], signals: Signals) -> None:
    commands = _commands(signals)
    name, rest = (arguments[0], list(arguments[1:])) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        _help(commands)
    elif name == "--version":
        output().print(f"vifx {vifx.__version__}")
    elif name not in commands:
        raise UsageError(
            f"unknown command {name!r}{nearest(name, (*commands, '--help', '--version'), cutoff=0.5)} (see vifx --help)"
        )
    elif rest[:1] in (["-h"], ["--help"]) and name in (
        "train",
        "sweep",
        "explain",
        "compile",
        "data",
        "checkpoint",
    ):  # their options come later
        output().print(f"usage: vifx {name} {commands[name].usage}\n\n{commands[name].about}", markup=False)
    else:
        commands[name].run(rest)


def _help(commands: Mapping[str, _Command]) -> None:
    console = output()
    console.print("usage: vifx COMMAND …\n\nDeclare two joint distributions; get pure loss functions.\n", markup=False)
    width = max(len(f"{name} {command.usage}") for name, command in commands.items())
    for name, command in commands.items():
        console.print(f"  {f'{name} {command.usage}':<{width}}  {command.about}", markup=False)
