"""The release workflow: what it runs, in which order, and that nothing is published before a bare wheel has trained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import vifx
from vifx.cli.file_options import TrainOptions
from vifx.cli.options import EvaluateOptions, read_options
from vifx.cli.prepare import parse_experiment

ROOT = Path(__file__).parents[1]
JOBS = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))["jobs"]
WHEEL = f"vifx-{vifx.__version__}-py3-none-any.whl"
STUB = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLED"\n'


def lines(job):
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def ran(script, folder, **variables):
    """Run a step as the workflow's shell does, before the real commands those of `folder`/stubs."""
    path = f"{folder / 'stubs'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CALLED": str(folder / "called"), **variables}
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def stubs(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)


def called(folder):
    return (folder / "called").read_text().splitlines()


def test_the_wheel_trains_before_it_is_published():
    assert (JOBS["train"]["needs"], JOBS["publish"]["needs"]) == ("build", "train")
    assert JOBS["publish"]["if"] == "startsWith(github.ref, 'refs/tags/')"
    assert JOBS["publish"]["permissions"] == {"id-token": "write"}  # trusted publishing, so no password
    uses = {name: [step["uses"] for step in job["steps"] if "uses" in step] for name, job in JOBS.items()}
    assert "actions/checkout@v4" not in uses["train"] + uses["publish"]  # only what was built is there
    assert uses["publish"][-1] == "pypa/gh-action-pypi-publish@release/v1"
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert re.findall(r"secrets\.|password", text) == []


@pytest.mark.parametrize(("tag", "code"), [(f"v{vifx.__version__}", 0), ("v9.9.9", 1), (vifx.__version__, 1)])
def test_a_tag_is_the_version(tag, code, tmp_path):
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / "python").symlink_to(sys.executable)
    assert ran(lines("build")[0], tmp_path, GITHUB_REF_NAME=tag).returncode == code


def test_the_steps_run_in_their_order(tmp_path):
    stubs(tmp_path / "stubs", "python", "pip", "twine")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / WHEEL).touch()
    for script in lines("build")[1:]:
        assert ran(script, tmp_path).returncode == 0
    assert called(tmp_path) == ["pip install build twine", "python -m build", f"twine check --strict dist/{WHEEL}"]
    (tmp_path / "called").unlink()
    stubs(tmp_path / "bare" / "bin", "pip", "vifx", "python")
    for script in lines("train"):
        assert ran(script, tmp_path).returncode == 0
    made, installed, trained, evaluated, opened = called(tmp_path)
    assert (made, installed) == ("python -m venv bare", f"pip install dist/{WHEEL}")
    assert opened == 'python -c import vifx; print(vifx.open("run").sample(4).shape)'
    file, config, options = parse_experiment(trained.split()[2:], "train", TrainOptions)
    assert (file.path.stem, config.steps, options.run) == ("vae_digits", 300, Path("run"))
    options = read_options("evaluate", evaluated.split()[2:])
    assert isinstance(options, EvaluateOptions)
    assert options.directory == Path("run")
