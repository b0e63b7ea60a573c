"""`vifx completion`: a script by which a shell completes commands, options and names."""

from __future__ import annotations

__all__ = ["completion_command", "words"]

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

from vifx.cli.console import output
from vifx.cli.file_options import CompileOptions, ExplainOptions, SweepOptions, TrainOptions
from vifx.cli.options import (
    AnswerOptions,
    BenchmarkOptions,
    CertifyOptions,
    CompletionOptions,
    EvaluateOptions,
    ExportOptions,
    ResumeOptions,
    SampleOptions,
)
from vifx.cli.parse import option_names
from vifx.data.names import UNPREPARED, available
from vifx.experiment.config import Config
from vifx.experiment.shipped import shipped_folder
from vifx.experiment.suite import suites

Commands: TypeAlias = Mapping[str, tuple[Sequence[str], Sequence[str]]]
_ARGUMENTS = ("--directory", "--name", "--shell", "--suite")  # positional arguments, which are not options
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
    makers = {
        "bash": partial(_cases, _BASH, 'words="{}"'),
        "zsh": partial(_cases, _ZSH, "compadd -- {}"),
        "fish": _fish,
    }
    output().print(makers[options.shell](words()), markup=False)


def words() -> Commands:
    """Return by command the options, and the names that may follow it; where there are none, files do."""
    every = [*option_names(Config)]

    def own(options: type) -> list[str]:
        return [name for name in option_names(options) if name not in _ARGUMENTS]

    return {
        "train": ([*every, *own(TrainOptions)], ()),
        "resume": (own(ResumeOptions), ()),
        "evaluate": (own(EvaluateOptions), ()),
        "sample": (own(SampleOptions), ()),
        "certify": (own(CertifyOptions), ()),
        "export": (own(ExportOptions), ()),
        "answer": (own(AnswerOptions), ()),
        "explain": ([*every, *own(ExplainOptions)], ()),
        "compile": ([*every, *own(CompileOptions)], ()),
        "list": ((), ()),
        "sweep": ([*every, *own(SweepOptions)], ()),
        "compare": (["--metric", "--out"], ()),
        "benchmark": (own(BenchmarkOptions), sorted(suites())),
        "watch": (["--port"], ()),
        "copy": (["--out"], sorted(path.stem for path in shipped_folder().glob("*.py"))),
        "new": (["--out"], ()),
        "checkpoint": (["--step"], ["verify"]),
        "data": (
            ["--source", "--directory", "--allow-download"],
            ["prepare", *(name for name in available() if name not in UNPREPARED)],
        ),
        "completion": ((), ["bash", "zsh", "fish"]),
    }


def _cases(script: str, action: str, commands: Commands) -> str:
    """Fill in the script of a shell whose `case` looks at the command and the word that is typed."""
    cases = [
        f"        *:{name}:{pattern}) {action.format(' '.join(found))} ;;"
        for name, (options, names) in commands.items()
        for pattern, found in (("-*", options), ("*", names))
        if found
    ]
    return script.format(commands=" ".join(commands), cases="\n".join(cases))


def _fish(commands: Commands) -> str:
    lines = [f"complete -c vifx -n __fish_use_subcommand -f -a '{' '.join(commands)}'"]
    for name, (options, names) in commands.items():
        seen = f"complete -c vifx -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{seen} -l {option.removeprefix('--')}" for option in options]
        lines += [f"{seen} -f -a '{' '.join(names)}'"] if names else []
    return "\n".join(lines)
