"""From arguments to an experiment that is ready to run, with nothing written on the way."""

from __future__ import annotations

__all__ = [
    "build",
    "failures",
    "mistakes",
    "parse_experiment",
    "rehearse",
]

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence, Set
from dataclasses import field, make_dataclass
from typing import Annotated, Any, TypeVar

import jax
import tyro

from vifx import experiment, training
from vifx.checks import ArgumentError, require_name
from vifx.cli.parse import FLAT, Failure, UsageError, option_names, parse
from vifx.experiment import Config, Experiment, ExperimentFile, building
from vifx.experiment.building import run_key
from vifx.experiment.file import describe, find, location
from vifx.experiment.programs import keep_programs
from vifx.training import CheckpointError, Diverged, Interrupted
from vifx.training.chunk import first_batch

T = TypeVar("T")
_SHORT = re.compile(r"-(?!inf|nan)[A-Za-z]", re.IGNORECASE)


@contextlib.contextmanager
def mistakes(file: ExperimentFile | None = None, *, debug: bool = False) -> Iterator[None]:
    """Turn every error inside into a `UsageError` of one line, or with `debug` let it through.

    Args:
      file: errors that pass through this file are located in it.

    Raises:
      UsageError: instead of the error.
    """
    with _in_one_line(UsageError, (Failure, UsageError), file, debug=debug):
        yield


@contextlib.contextmanager
def failures(file: ExperimentFile, *, debug: bool = False) -> Iterator[None]:
    """Turn every error inside that no command expects into a `Failure` of one line, or with `debug` let it through.

    Args:
      file: errors that pass through this file are located in it.

    Raises:
      Failure: instead of the error.
    """
    expected = (Failure, UsageError, Diverged, CheckpointError, Interrupted, BrokenPipeError)
    with _in_one_line(Failure, expected, file, debug=debug):
        yield


@contextlib.contextmanager
def _in_one_line(
    kind: type[Exception], expected: tuple[type[BaseException], ...], file: ExperimentFile | None, *, debug: bool
) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        if debug or isinstance(error, expected):
            raise
        where = location(error, file.path) if file is not None else ""
        raise kind(f"{describe(error)}{f' (at {where})' if where else ''}") from error


def parse_experiment(arguments: Sequence[str], command: str, options: type[T]) -> tuple[ExperimentFile, Config, T]:
    """Read "FILE [--options]", where FILE decides which options there are besides the command's own.

    FILE may be the name of a file in `experiments/` or of an experiment that came with vifx, and may stand behind
    options. It is executed before they are read, since its `Config` says which there are; only what can be no option of
    any config is refused before.

    Raises:
      UsageError: if there is no file, it cannot be loaded, or an option is wrong.
    """
    words = [index for index, word in enumerate(arguments) if not word.startswith("-")]
    at = _place_of_file(arguments, words)
    if at is None:
        raise UsageError(f"vifx {command} needs an experiment file: vifx {command} FILE [--options]")
    _require_long(arguments, f"vifx {command} {arguments[at]}")
    with mistakes(debug="--debug-checks" in arguments):
        file = experiment.load(find(arguments[at]))
    _require_own_names(file, command, options)
    both = make_dataclass("Arguments", [_flat("config", file.config), _flat("options", options)], frozen=True)
    prog = shlex.join(["vifx", command, arguments[at]])
    parsed: Any = parse(
        both, [*arguments[:at], *arguments[at + 1 :]], prog=prog, description=file.doc.partition("\n")[0]
    )
    return file, parsed.config, parsed.options


def _place_of_file(arguments: Sequence[str], words: Sequence[int]) -> int | None:
    """Return which of the words that are no options is the file: the first, before a value that is called like one."""
    files = [index for index in words if index == 0 or find(arguments[index]).is_file()]
    apart = (index for index in files if index == 0 or not _takes_value(arguments[index - 1]))
    return next(apart, files[0] if files else None)


def _takes_value(word: str) -> bool:
    return word.startswith("--") and "=" not in word


def _require_long(arguments: Sequence[str], prog: str) -> None:
    """Refuse an option of one dash, which no config has, unless it is a number or asks for help."""
    for word in arguments:
        if _SHORT.match(word) and word != "-h":
            raise UsageError(f"unknown option {word!r}; options begin with two dashes (see {prog} --help)")


def _require_own_names(file: ExperimentFile, command: str, options: type) -> None:
    taken = set(option_names(options))
    for option in (name.replace("--no-", "--", 1) for name in option_names(file.config)):  # on by default or off
        if option in taken:
            field = option.removeprefix("--").replace("-", "_")
            raise UsageError(f"{file.path}: Config.{field} has the option {option} of vifx {command}; rename the field")


def _flat(name: str, cls: type) -> tuple[str, Any, Any]:
    """Return a field whose options come without a prefix."""
    return name, Annotated[cls, tyro.conf.arg(name="")], field(default_factory=cls, metadata=FLAT)


def build(file: ExperimentFile, config: Config, *, read: Set[str] | None = None) -> Experiment:
    """Build an experiment as `vifx.experiment.building.build` does, with errors that name options.

    Args:
      read: what a `recording` config notes, for settings that the experiment does not read to be refused.

    Raises:
      TypeError: if `build` returns something else.
      ValueError: from whatever is wrong with the data, the joints or the step.
    """
    keep_programs()
    if vars(config)["precision"] == "float64":  # not noted as read
        jax.config.update("jax_enable_x64", True)  # before there are arrays; the command sets it back at its end
    try:
        return building.build(file, config, read=read)
    except ArgumentError as error:
        raise ValueError(_naming_option(error, config)).with_traceback(error.__traceback__) from error


def rehearse(built: Experiment, config: Config) -> None:
    """Measure with the monitor and draw every figure once, from the initial parameters, as training will.

    Raises:
      ValueError: if the metric to keep the best checkpoint by is not among the monitored ones.
      Exception: from a monitor or a drawing that fails.
    """
    batch = first_batch(run_key(config), built.source)
    train_state = training.evaluated(training.start(run_key(config), built.step, built.objective, batch))
    keys = iter(jax.random.split(jax.random.key(config.seed), 1 + len(built.drawings)))
    if built.monitor is not None:
        found = built.monitor(next(keys), train_state.params, train_state.state)
        name = (built.best or "").removeprefix("-")
        if name.startswith("validation/"):
            require_name(name, [f"validation/{metric}" for metric in found], "metric for best")
    for draw in built.drawings.values():
        draw(next(keys), train_state.params, train_state.state)


def _naming_option(error: ArgumentError, config: Config) -> str:
    """Return a message about a field of `config` or `config.data` with the option that sets it in place of its name."""
    for prefix, part in (("--data.", config.data), ("--", config)):
        theirs = error.owner is None and error.field in vars(part) and vars(part)[error.field] == error.value
        if error.owner is part or theirs:
            return error.naming(f"{prefix}{error.field.replace('_', '-')}")
    return str(error)
