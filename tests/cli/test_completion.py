"""The scripts for shells offer what the command takes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vifx.cli.completion import words
from vifx.cli.options import SampleOptions
from vifx.cli.parse import option_names
from vifx.data.names import TABLES

NAMES = {
    "copy": sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("*.py")),
    "benchmark": ["digits", "fashion_mnist", "two_moons", "twonorm"],
    "checkpoint": ["verify"],
    "data": ["prepare", "digits", "fashion_mnist", *TABLES],
    "completion": ["bash", "zsh", "fish"],
}


def completed(script, *typed):
    """What bash offers for a command line whose last word is not finished."""
    ask = 'COMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n_vifx\nprintf "%s\\n" "${COMPREPLY[@]}"\ncomplete -p vifx'
    code = f"{script}\n{ask}"
    done = subprocess.run(["bash", "-c", code, "bash", *typed], capture_output=True, text=True, check=True, timeout=60)
    *found, registered = done.stdout.splitlines()
    assert registered == "complete -o bashdefault -o default -F _vifx vifx"
    return [word for word in found if word]


def test_bash_completes_commands_options_and_names(tiny, vifx_command):
    result = vifx_command("completion", "bash")
    assert (result.code, result.err) == (0, "")
    listed = re.findall(r"^  (\w+) ", vifx_command("--help").out, flags=re.MULTILINE)
    assert completed(result.out, "vifx", "") == listed
    assert completed(result.out, "vifx", "re") == ["resume"]
    assert completed(result.out, "vifx", "train", "") == []  # bash's own completion of files
    assert completed(result.out, "vifx", "sample", "--") == [
        name for name in option_names(SampleOptions) if name != "--directory"
    ]
    every = completed(result.out, "vifx", "train", "tiny.py", "--")
    shown = set(re.findall(r"--[a-z][a-z.-]*", vifx_command("train", tiny, "--help").out)) - {"--help"}
    own = {"--latent", "--hidden", "--flavour", "--learning-rate", "--poison"}  # of this experiment
    assert own <= shown
    assert set(every) == shown - own
    assert completed(result.out, "vifx", "train", "tiny.py", "--data.b") == ["--data.batch-size"]
    for command, names in NAMES.items():
        assert completed(result.out, "vifx", command, "") == names


@pytest.mark.parametrize(
    ("shell", "case", "option"),
    [("zsh", "        *:{}:", "--{}"), ("fish", "__fish_seen_subcommand_from {}'", "-l {}")],
)
def test_the_other_shells_get_the_same_words(shell, case, option, vifx_command):
    lines = vifx_command("completion", shell).out.splitlines()
    assert any(" ".join(words()) in line for line in lines)
    for command, (options, names) in words().items():
        mine = "\n".join(line for line in lines if case.format(command) in line)
        for name in options:
            assert re.search(rf"{option.format(re.escape(name[2:]))}( |$)", mine, flags=re.MULTILINE), (command, name)
        assert " ".join(names) in mine


def test_another_shell_is_refused_with_the_nearest(vifx_command):
    result = vifx_command("completion", "fsh")
    assert result.code == 2
    assert "must be one of bash, zsh, fish; got 'fsh'; did you mean 'fish'?" in result.message
