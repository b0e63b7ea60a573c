"""What the docs show of a shell runs, and says what it prints."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]
MARK = "end of a command"


def commands(block):
    """The commands of a block, each with the lines that it prints; `…` stands for anything."""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif line.startswith("> "):  # the rest of a command
            command, _ = found.pop()
            found.append((f"{command}\n{line.removeprefix('> ')}", []))
        else:
            found[-1][1].append(line)
    return found


def ran(block, folder, environment):
    """What each command of a block prints, in one shell."""
    script = "".join(f"{command}\necho '{MARK}'\n" for command, _ in commands(block))
    options = {"capture_output": True, "text": True, "timeout": 240, "check": False}
    done = subprocess.run(["bash"], input=script, cwd=folder, env=environment, **options)
    return done.stdout.split(f"{MARK}\n")[:-1], done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_shell_prints_what_the_page_shows(page, tmp_path):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # They compile as quickly as the tests do, on one device, as readers have it.
    flags = [word for word in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in word]
    environment = {**os.environ, "PATH": path, "XLA_FLAGS": " ".join(flags), "COLUMNS": "200"}
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        block = match[1].replace("8476", port)
        printed, errors = ran(block, tmp_path, environment)
        for (command, expected), text in zip(commands(block), printed, strict=True):
            for line in expected:
                pattern = ".*".join(map(re.escape, line.replace("−", "-").split("…")))
                assert re.search(rf"^{pattern}$", text.replace("−", "-"), flags=re.MULTILINE), (
                    command,
                    line,
                    text,
                    errors,
                )
            if not expected:
                assert text == "", (command, text)
