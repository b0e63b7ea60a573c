"""`vifx completion`: a script by which a shell completes commands, options and names."""

from __future__ import annotations

__all__ = ["completion_command", "words"]

from collections.abc import Mapping, Sequence

from vifx.cli.console import output
from vifx.cli.options import (
    AnswerOptions,
    CompletionOptions,
    EvaluateOptions,
    ExplainOptions,
    ResumeOptions,
    SampleOptions,
    TrainOptions,
)
from vifx.cli.parse import option_names
from vifx.data.names import UNPREPARED, available
from vifx.experiment.config import Config

_ARGUMENTS = ("--directory", "--name", "--shell")  # fields that are arguments and have no option
_BASH = """\
_vifx() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    COMPREPLY=()
    case "$COMP_CWORD:${{COMP_WORDS[1]}}:$word" in
        1:*) words="{commands}" ;;
{cases}
    esac
    [ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _vifx vifx"""
_ZSH = """\
#compdef vifx
_vifx() {{
    case "$CURRENT:$words[2]:$PREFIX" in
        2:*) compadd -- {commands} ;;
{cases}
        *) _files ;;
    esac
}}
compdef _vifx vifx"""


def completion_command(options: CompletionOptions) -> None:
    """Print the script of a shell, for its start-up file to evaluate.

    The options of an experiment are those that every experiment has.
    """
    commands = words()
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](commands)
    output().print(lines, markup=False)


def words() -> Mapping[str, tuple[Sequence[str], Sequence[str]]]:
    """Return by command the options, and the names that may follow it; where there are none, files do."""
    every = [*option_names(Config)]

    def own(options: type) -> list[str]:
        return [name for name in option_names(options) if name not in _ARGUMENTS]

    return {
        "train": ([*every, *own(TrainOptions)], ()),
        "resume": (own(ResumeOptions), ()),
        "evaluate": (own(EvaluateOptions), ()),
        "sample": (own(SampleOptions), ()),
        "answer": (own(AnswerOptions), ()),
        "explain": ([*every, *own(ExplainOptions)], ()),
        "list": ((), ()),
        "data": (
            ["--source", "--directory", "--allow-download"],
            ["prepare", *(name for name in available() if name not in UNPREPARED)],
        ),
        "completion": ((), ["bash", "zsh", "fish"]),
    }


def _bash(commands: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    cases = [
        f'        *:{name}:{pattern}) words="{" ".join(found)}" ;;'
        for name, (options, names) in commands.items()
        for pattern, found in (("-*", options), ("*", names))
        if found
    ]
    return _BASH.format(commands=" ".join(commands), cases="\n".join(cases))


def _zsh(commands: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    cases = [
        f"        *:{name}:{pattern}) compadd -- {' '.join(found)} ;;"
        for name, (options, names) in commands.items()
        for pattern, found in (("-*", options), ("*", names))
        if found
    ]
    return _ZSH.format(commands=" ".join(commands), cases="\n".join(cases))


def _fish(commands: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    lines = [f"complete -c vifx -n __fish_use_subcommand -f -a '{' '.join(commands)}'"]
    for name, (options, names) in commands.items():
        seen = f"complete -c vifx -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{seen} -l {option.removeprefix('--')}" for option in options]
        lines += [f"{seen} -f -a '{' '.join(names)}'"] if names else []
    return "\n".join(lines)
