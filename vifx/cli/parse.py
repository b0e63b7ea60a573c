"""From an argument vector to a dataclass, with every mistake as one `UsageError`."""

from __future__ import annotations

__all__ = ["FLAT", "Failure", "HelpShown", "UsageError", "naming_option", "nearest", "option_names", "parse"]

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import TypeVar

import tyro

from vifx.checks import ArgumentError, nearest

FLAT = MappingProxyType({"flat": True})
"""Metadata of a dataclass field whose own fields are options without a prefix."""


class UsageError(Exception):
    """A mistake in how the command was called; `main` shows it in a box and exits with code 2."""


class Failure(Exception):  # noqa: N818 - the command was called rightly, and could not go on
    """What stopped a command that was called rightly; `main` shows it in a box and exits with code 1."""


class HelpShown(Exception):  # noqa: N818 - nothing went wrong
    """The help that was asked for has been printed, and nothing is left to do."""


C = TypeVar("C")


def parse(options: type[C], arguments: Sequence[str], *, prog: str, description: str) -> C:
    """Parse arguments into the dataclass `options`.

    Args:
      description: the first line of `--help`.

    Raises:
      UsageError: for an unknown option (with the nearest one), or a value that its field refuses.
      HelpShown: after `--help`.
    """
    messages = io.StringIO()
    try:
        with _plain_output(), contextlib.redirect_stderr(messages):
            parsed, unknown = tyro.cli(
                options,
                args=list(arguments),
                prog=prog,
                description=description,
                return_unknown_args=True,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
            )
    except (ValueError, TypeError) as error:  # from a __post_init__ that tyro lets through
        raise UsageError(f"{naming_option(error, options)} (see {prog} --help)") from error
    except SystemExit as stop:
        if not stop.code:
            raise HelpShown from None
        refused = _refused(stop)
        message = naming_option(refused, options) if refused else _reworded(_unboxed(messages.getvalue()))
        raise UsageError(f"{message} (see {prog} --help)") from None
    if unknown:
        option = unknown[0].partition("=")[0]
        if not option.startswith("-"):
            raise UsageError(f"unexpected argument {option!r} (see {prog} --help)")
        raise UsageError(
            f"unknown option {option!r}{nearest(option, option_names(options), cutoff=0.5)} (see {prog} --help)"
        )
    return parsed


@contextlib.contextmanager
def _plain_output() -> Iterator[None]:
    """Let tyro write no colours: it does not ask NO_COLOR, and for its messages it asks standard output."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            yield
    finally:
        print(shown.getvalue(), end="")


def option_names(cls: type, *, prefix: str = "--") -> Iterator[str]:
    """Yield the option of every field of a dataclass behind `prefix`, with nested ones as `--data.batch-size`.

    That of a field which is on by default turns it off: `--data.no-standardize`.
    """
    yield from (option for _, _, option in _options(cls, prefix))


def _options(cls: type, prefix: str = "--") -> Iterator[tuple[type, str, str]]:
    """Yield each field as the dataclass that it is of, its name and its option."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, off = hints[field.name], "no-" if field.default is True else ""
        option = f"{prefix}{off}{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield from _options(kind, prefix if field.metadata == FLAT else f"{option}.")
        else:
            yield cls, field.name, option


def naming_option(error: Exception, options: type) -> str:
    """Return the message of an error, with the option that sets the refused value in place of its name.

    Args:
      error: any; only an `ArgumentError` names a field.
      options: the dataclass of the options. Of a field without a known owner the option of a nested dataclass is meant.
    """
    if not isinstance(error, ArgumentError):
        return str(error)
    found = [(owner, option) for owner, name, option in _options(options) if name == error.field]
    mine = [option for owner, option in found if type(error.owner) is owner]
    others = [option for _, option in found if error.owner is None]
    named = [*mine, *sorted(others, key=lambda option: "." not in option)]
    return error.naming(named[0]) if named else str(error)


def _refused(stop: SystemExit) -> ArgumentError | None:
    """Return the ArgumentError that made tyro exit, if there is one."""
    error: BaseException | None = stop
    while error is not None and not isinstance(error, ArgumentError):
        error = error.__cause__ or error.__context__
    return error


def _unboxed(box: str) -> str:
    """Return the first paragraph below the title of a message that tyro drew in a box."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    rules = [not line.strip("─-╭╮╰╯") for line in lines]
    first = rules.index(False) if False in rules else len(lines)
    last = rules.index(True, first) if True in rules[first:] else len(lines)
    return " ".join(lines[first:last])


_CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*?),?\)\.")
_REWORDED = (
    (re.compile(r"invalid literal for int\(\) with base 10: "), "expected an integer; got "),
    (re.compile(r"could not convert string to float: "), "expected a number; got "),
    (re.compile(r"no type matching (.*) could be instantiated from \[(.*)\]\."), r"expected \1; got \2"),
    (re.compile(r"Could not find valid parse for arguments: \[(.*)\]"), r"cannot read \1"),
    (re.compile(r"^Error parsing (?!-)[^:]*: "), ""),
    (re.compile(r"^Error parsing "), ""),
    (re.compile(r"\{None\}\|INT\b"), "an integer or None"),
    (re.compile(r"\{None\}\|FLOAT\b"), "a number or None"),
    (re.compile(r"^Missing value for argument [('\"]*([^'\",)]+).*"), r"\1 needs a value"),
)


def _reworded(message: str) -> str:
    """Return tyro's message in the words of this command, with the nearest of several choices."""
    choice = _CHOICE.fullmatch(message)
    if choice:
        value, option, quoted = choice.groups()
        choices = [c.strip("' ") for c in quoted.split(",")]
        return f"{option} must be one of {', '.join(choices)}; got {value!r}{nearest(value, choices, cutoff=0.5)}"
    for pattern, words in _REWORDED:
        message = pattern.sub(words, message)
    return message
