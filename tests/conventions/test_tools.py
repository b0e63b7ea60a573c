"""Rule 7: ruff and pyright are clean, and configured to look."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conventions.sources import ROOT

TOOLS = {
    "ruff check": ["-m", "ruff", "check", "--no-cache", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "--no-cache", "."],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}
BAD = {
    "ruff check": "import os\n",
    "ruff format": "x = {  'a':1 }\n",
    "pyright": "x: int = 'a'\n",
}


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.first(2)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_tool_is_content(tool):
    done = run(TOOLS[tool], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.first(2)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_tool_can_fail(tool, tmp_path):
    (tmp_path / "bad.py").write_text(BAD[tool])
    assert run(TOOLS[tool], tmp_path).returncode == 1


def test_the_configuration_looks_at_everything():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert {"E", "F", "I", "B", "UP", "D", "N", "SIM", "ANN"} <= set(settings["ruff"]["lint"]["select"])
    assert not any(p.startswith("vifx") for p in settings["ruff"]["lint"]["per-file-ignores"])
    assert settings["pyright"]["include"] == ["vifx", "experiments"]
    assert settings["pyright"]["typeCheckingMode"] == "standard"
    assert settings["pytest"]["ini_options"]["filterwarnings"] == ["error"]
