"""What a run directory makes the command execute, and what is refused before it is executed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

COMMANDS = (["resume", "run"], ["evaluate", "run"], ["sample", "run", "--n", "1"])


def names(run: Path, file: Path, digest: str | None = None) -> None:
    """Let the record of a run name an experiment file."""
    path = run / "config.json"
    record = json.loads(path.read_text())
    record["experiment"] = {"file": str(file), "sha256": digest or hashlib.sha256(file.read_bytes()).hexdigest()}
    path.write_text(json.dumps(record))


def traced(text: str, mark: Path) -> str:
    """An experiment that leaves a mark when it is executed."""
    return text.replace(
        "import numpy as np\n", f"import pathlib\nimport numpy as np\npathlib.Path({str(mark)!r}).touch()\n"
    )


@pytest.mark.first(1)
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: words[0])
def test_changed_file_is_not_executed(arguments, copied, tiny, vifx_command, tmp_path):
    copied("run")
    mark = tmp_path / "executed"
    tiny.write_text(traced(tiny.read_text(), mark))
    result = vifx_command(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.message.startswith(f"{tiny} has changed since the run was started")
    assert result.message.endswith("--trust runs it all the same")
    assert not mark.exists()


@pytest.mark.first(1)
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("way", ["outside", "link", "parent"])
def test_file_elsewhere_is_not_executed_without_trust(
    way, arguments, copied, tiny, vifx_command, tmp_path, tmp_path_factory
):
    copied("run")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "tiny.py"
    mark = tmp_path / "executed"
    elsewhere.write_text(traced(tiny.read_text(), mark))
    named = elsewhere
    if way == "link":
        named = tmp_path / "linked.py"
        named.symlink_to(elsewhere)
    elif way == "parent":
        named = tmp_path / ".." / elsewhere.relative_to(tmp_path.parent)
    names(tmp_path / "run", named)
    result = vifx_command(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.message.startswith(f"{elsewhere}, which the record of this run names, lies neither in the run nor")
    assert not mark.exists()
    trusted = vifx_command(*arguments, "--trust")
    assert trusted.code == 0
    assert trusted.out.splitlines()[0] == f"runs {elsewhere}, as when the run was started"
    assert mark.exists()


@pytest.mark.thorough
def test_trust_measures_and_samples_with_a_changed_file_but_does_not_resume_it(copied, tiny, vifx_command):
    copied("run")
    tiny.write_text(tiny.read_text().replace("More lines.", "Other lines."))
    for command in ("evaluate", "sample"):
        result = vifx_command(command, "run", "--trust")
        assert result.code == 0
        assert result.out.splitlines()[0] == f"runs {tiny}, changed since the run was started"
    result = vifx_command("resume", "run", "--trust")
    assert result.code == 2
    assert "it would not continue the same run" in result.message


def test_file_in_the_run_is_executed_from_anywhere(copied, tiny, vifx_command, tmp_path, tmp_path_factory, monkeypatch):
    copied("run")
    inside = tmp_path / "run" / "tiny.py"
    inside.write_text(tiny.read_text())
    names(tmp_path / "run", inside)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    result = vifx_command("sample", tmp_path / "run", "--n", "1")
    assert result.code == 0
    assert result.out.splitlines()[0] == f"runs {inside}, as when the run was started"
