"""`--profile` and kept programs, on the command line."""

from __future__ import annotations

import gzip
import json
import os
import subprocess

import jax
import pytest
from cli.conftest import leaves


@pytest.mark.thorough
def test_a_profile_names_its_updates_and_changes_nothing(tiny, vifx_command, tmp_path):
    assert vifx_command("train", tiny, "--run", "plain", "--steps", "4").code == 0
    result = vifx_command("train", tiny, "--run", "run", "--steps", "4", "--profile")
    assert (result.code, result.err) == (0, "")
    (line,) = (line for line in result.out.splitlines() if line.startswith("profile"))
    path = tmp_path / line.split()[1]
    assert path.is_relative_to(tmp_path / "run" / "profile")
    with gzip.open(path) as file:
        events = json.load(file)
    found = [
        event
        for event in (events["traceEvents"] if isinstance(events, dict) else events)
        if event.get("name") == "update"
    ]
    assert sorted(event["args"]["step_num"] for event in found) == ["1", "2", "3"]
    (xplane,) = path.parent.glob("*.xplane.pb")  # what TensorBoard reads
    assert xplane.read_bytes().count(b"update") > 0
    assert leaves(tmp_path / "run") == leaves(tmp_path / "plain")


@pytest.mark.thorough
def test_a_second_command_finds_the_programs_of_the_first(tiny, executable, vifx_command, tmp_path):
    environment = {**os.environ, "VIFX_CACHE": str(tmp_path / "kept")}
    runs = []
    for name in ("one", "two"):
        call = [*executable, "train", str(tiny), "--run", name, "--steps", "4", "--hidden", "64", "64"]
        result = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert (result.returncode, result.stderr) == (0, "")
        place = json.loads((tmp_path / name / "config.json").read_text())["compiled_programs"]
        assert f"compiled programs are kept in {place} (VIFX_CACHE=off: nowhere)" in result.stdout.replace("\n", " ")
        runs.append({path.name for path in (tmp_path / "kept" / "programs").rglob("*")})
    assert leaves(tmp_path / "one") == leaves(tmp_path / "two")
    assert runs[0] == runs[1]
    assert not [name for name in runs[1] if name.startswith("process-")]
    assert jax.config.jax_compilation_cache_dir.endswith(("main", "gw0", "gw1"))
