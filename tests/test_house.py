"""The repository around the package: commands, versions, licence, and what must not be in a file."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import vifx

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOREIGN = re.compile(r"/(?:work|root|home|tmp)/\w|file:///|\.\./shared")
KINDS = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".css", ".html", ""}
SKIPPED = {".git", ".venv", "build", "dist", "__pycache__", "_build", "runs", "vifx.egg-info"}


def texts() -> dict[str, str]:
    found = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if (f not in SKIPPED and not f.startswith(".")) or f in (".ci", ".github")]
        for path in (Path(folder) / n for n in names):
            if path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", "") and path not in (
                Path(__file__),
                ROOT / ".git",
            ):
                found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    return found


def foreign(text: str) -> list[str]:
    return [m.group() for m in FOREIGN.finditer(text)]


def test_versions_agree():
    assert vifx.__version__ == PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)[0] == PROJECT["version"]


def test_the_licence_is_the_declared_one():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_dependencies_are_bounded_and_jaxlib_is_left_to_jax():
    names = [re.split(r"[<>=\[ ]", d)[0] for d in PROJECT["dependencies"]]
    assert "jaxlib" not in names
    unstable = [d for d in PROJECT["dependencies"] if re.search(r">=0\.", d) and "<" not in d]
    assert unstable == ["array_record>=0.8"]


def test_ci_runs_the_test_commands_of_the_readme(tmp_path):
    """From another directory, without standard input, with a `bash` that only says what it would run."""
    stub = tmp_path / "bash"
    stub.write_text('#!/bin/sh\nfor last; do :; done\necho "in $PWD: $last"\n')
    stub.chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", str(ROOT / ".ci/run")],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = re.findall(r"^(.*/bin/pytest)$", README, re.MULTILINE) + re.findall(r"`(.*/bin/pytest -m \w+)`", README)
    assert [command.rpartition("/")[2] for command in commands] == ["pytest", "pytest -m thorough"]
    assert done.stdout.splitlines() == [line for each in commands for line in (f"+ {each}", f"in {ROOT}: {each}")]
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_readme_has_two_commands_and_its_files_exist():
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert [b.strip().count("\n") for b in blocks[:2]] == [0, 0]
    assert "vifx train experiments/vae_digits.py" in blocks[0]
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_file_knows_a_machine():
    assert {path: found for path, text in texts().items() if (found := foreign(text))} == {}


@pytest.mark.parametrize("text", ["see /home/" + "me/x", "../" + "shared/design.md", "file://" + "/opt"])
def test_a_machine_path_is_seen(text):
    assert foreign(text) != []


def test_the_citation_is_of_this_version():
    """The keys that version 1.2.0 of the format requires, and the facts that stand elsewhere too."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    author = re.search(r'^author = "(.*)"$', (ROOT / "docs/conf.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert author is not None
    assert cited["authors"] == [{"name": author[1]}]


def test_contributing_is_true():
    """What it names is there: the files, the tables of the contracts, the rule's command of the README."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:vifx|tests|docs|\.github)/[^`<>]*)`|\]\(([^):]+)\)", text)
    named = [one or other for one, other in paths]
    assert len(named) >= 15
    assert [name for name in named if not (ROOT / name).exists()] == []
    tables = {"EMISSIONS": "families", "OBJECTIVES": "objectives", "ADVERSARIAL": "objectives"}
    for table, file in tables.items():
        assert f"`{table}`" in text
        assert f"\n{table} = {{" in (ROOT / f"tests/contracts/test_{file}.py").read_text(encoding="utf-8")
    assert "\nFORMULAS = {" in (ROOT / "tests/divergences/test_table.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_an_issue_form_has_fields_with_labels(name):
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text(encoding="utf-8"))
    assert form["name"].lower() == form["labels"][0] == name
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids) >= 3
    assert all(field["attributes"]["label"] for field in form["body"])
    assert [field["id"] for field in form["body"] if field.get("validations", {}).get("required")]
