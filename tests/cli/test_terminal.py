"""What the command shows on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-79]|4[0-79]|9[0-7]|38|48)[0-9;]*m")


def on_a_terminal(*arguments, **environment):
    """Run the command on a terminal and return its exit code and all that it shows."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", "from vifx.cli import script; script()", *map(str, arguments)]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 65536):
                shown += part
        except OSError:  # the other end is closed
            os.close(leader)
    return process.returncode, shown.decode().replace("\r\n", "\n")


CALLS = {
    "list": (0, ["list"]),
    "help": (0, ["sample", "--help"]),
    "unknown": (2, ["trian"]),
    "bad value": (2, ["sample", "x", "--n", "a"]),
    "train": (0, ["train", "tiny.py", "--steps", "4", "--run", "run"]),
}


@pytest.mark.first(4)
@pytest.mark.parametrize("call", CALLS)
def test_no_color_is_obeyed(call, tiny):
    expected, arguments = CALLS[call]
    code, shown = on_a_terminal(*arguments, NO_COLOR="1")
    assert code == expected, shown
    assert not COLOUR.search(shown)
    if call == "unknown":
        assert COLOUR.search(on_a_terminal(*arguments, NO_COLOR="")[1])


def test_a_bad_value_is_one_sentence_in_one_box(tiny):
    code, shown = on_a_terminal("sample", "x", "--n", "a", NO_COLOR="1")
    assert code == 2
    assert [line.strip(" │") for line in shown.splitlines()[1:-1]] == [
        "--n: expected an integer; got 'a' (see vifx sample --help)"
    ]


@pytest.mark.thorough
def test_colons_are_no_pictures(tiny, vifx_command):
    run = ":train:"
    assert f"run directory {run}" in vifx_command("train", tiny, "--run", run, "--steps", "2").out
