"""The experiments that came with vifx: found by name, listed, copied, and trained and opened without a clone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vifx.experiment import file as files
from vifx.experiment import run as runs
from vifx.experiment.shipped import command_name, recorded_path, resolved_path, shipped_folder

ROOT = Path(__file__).parents[2]
TINY_RUN = ("--steps", "2", "--log-every", "1", "--checkpoint-every", "2", "--evaluate-every", "2", "--hidden", "4")


def test_a_name_means_a_file_here_before_the_one_that_came_with_vifx(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = shipped_folder() / "vae_digits.py"  # in the package, or beside it where that is a clone
    assert shipped.read_bytes() == (ROOT / "experiments" / "vae_digits.py").read_bytes()
    assert files.find("vae_digits") == files.find("vae_digits.py") == shipped
    assert command_name(shipped) == "vae_digits"
    assert recorded_path(shipped) == "vifx:vae_digits.py"
    assert resolved_path("vifx:vae_digits.py") == shipped
    assert files.find("elsewhere/vae_digits") == Path("elsewhere/vae_digits")  # a path is not a name
    (tmp_path / "experiments").mkdir()
    for mine in (Path("experiments/vae_digits.py"), Path("vae_digits.py")):
        mine.write_text("")
        assert files.find("vae_digits") == mine
        assert recorded_path(mine) == str(tmp_path / mine)
        assert command_name(shipped) == str(shipped)  # the name alone would mean another file now
    with pytest.raises(FileNotFoundError, match=r"did you mean 'gan_digits'\?"):
        files.read(files.find("gan_digitz"))


def test_a_record_names_no_file_outside_of_the_folder():
    assert resolved_path("vifx:../../elsewhere.py") == shipped_folder() / "elsewhere.py"


def test_a_run_of_a_shipped_experiment_is_trusted_while_its_file_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = files.load(files.find("vae_digits"))
    run = runs.Run(tmp_path / "run", file, file.config(latent=3))
    runs.create(run)
    assert vars(runs.open_run("run").config)["latent"] == 3  # of its own class, since the file is read anew
    record = json.loads(run.record.read_text())
    assert record["command"] == ["vifx", "train", "vae_digits", "--latent", "3"]
    assert record["experiment"] == {
        "file": "vifx:vae_digits.py",
        "sha256": hashlib.sha256((ROOT / "experiments" / "vae_digits.py").read_bytes()).hexdigest(),
    }
    record["experiment"]["sha256"] = "0" * 64  # that of another version of vifx
    run.record.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="has changed since the run was started"):
        runs.open_run("run")


def test_copy_writes_the_file_and_overwrites_none(tmp_path, monkeypatch, vifx_command):
    monkeypatch.chdir(tmp_path)
    assert vifx_command("copy", "vae_digits").out == "vae_digits.py: edit it, then: vifx train vae_digits.py\n"
    copied = tmp_path / "vae_digits.py"
    assert copied.read_bytes() == (ROOT / "experiments" / "vae_digits.py").read_bytes()
    copied.write_text("mine")
    again = vifx_command("copy", "vae_digits.py")
    assert again.code == 2
    assert again.message == "'vae_digits.py' already exists and is left as it is; give another file with --out"
    assert copied.read_text() == "mine"
    assert vifx_command("copy", "vae_digits", "--out", "other.py").code == 0
    wrong = vifx_command("copy", "vae_digit")
    assert wrong.message == "no experiment of the name 'vae_digit' came with vifx; did you mean 'vae_digits'?"
    nowhere = vifx_command("copy", "vae_digits", "--out", "none/a.py")
    assert nowhere.message.startswith("'none/a.py' cannot be written: No such file")


def test_list_has_those_of_the_working_directory_first(tiny, vifx_command):
    (tiny.parent / "helpers.py").write_text("def build(config): ...\n")  # without a Config it is no experiment
    (tiny.parent / "gan_ring.py").write_text(tiny.read_text())
    lines = vifx_command("list").out.partition("benchmarks")[0].splitlines()[1:]
    names = [line.split()[0] for line in lines if line.strip()]
    rest = sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))
    rest.remove("gan_ring")
    assert names == ["gan_ring.py", "tiny.py", *rest]


def test_a_value_that_is_called_like_an_experiment_is_not_the_file(tmp_path, monkeypatch, vifx_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kl").with_suffix(".py").write_text("raise SystemExit(1)\n")
    result = vifx_command("train", "--divergence", "kl", "gan_digits", "--help")
    assert result.code == 0
    assert "f-GANs on scikit-learn" in result.out


@pytest.mark.thorough
def test_a_wheel_trains_and_opens_without_the_clone(tmp_path):
    clone, site, work = tmp_path / "clone", tmp_path / "site", tmp_path / "work"
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
    for name in ("vifx", "experiments"):
        shutil.copytree(ROOT / name, clone / name, ignore=left_out)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = "import sys\nfrom setuptools import build_meta\nprint(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
    made = {}
    for what in ("build_sdist", "build_wheel"):  # the wheel from the sdist, as package indices have it
        folder = clone if what == "build_sdist" else next((tmp_path / "unpacked").iterdir())
        command = [sys.executable, "-c", build, what, str(tmp_path)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=300)
        made[what] = tmp_path / done.stdout.splitlines()[-1]
        if what == "build_sdist":
            shutil.unpack_archive(made[what], tmp_path / "unpacked", filter="data")
    zipfile.ZipFile(made["build_wheel"]).extractall(site)
    shutil.rmtree(clone)
    shutil.rmtree(tmp_path / "unpacked")
    inside = {path.name for path in (site / "vifx" / "shipped").glob("*.py")}
    assert inside == {path.name for path in (ROOT / "experiments").glob("*.py")}
    assert sorted(path.name for path in site.iterdir())[0] == "vifx"  # and no folder `experiments` of its own

    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path), "VIFX_CACHE": "off"}
    environment.pop("VIFX_DATA", None)

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "vifx", "train", "vae_digits", "--run", "run", *TINY_RUN, "--bound-examples", "8")
    record = json.loads((work / "run" / "config.json").read_text())
    assert record["experiment"]["file"] == "vifx:vae_digits.py"
    moved = tmp_path / "another environment"  # the package lies elsewhere, and the run is still its own
    site.rename(moved)
    environment["PYTHONPATH"] = str(moved)
    opened = "import vifx; r = vifx.open('run'); print(vifx.__file__, r.step, r.config.hidden)"
    assert run("-c", opened).split(maxsplit=0)[0].strip() == f"{moved / 'vifx' / '__init__.py'} 2 (4,)"
    assert "\n  vae_digits " in run("-m", "vifx", "list")


def test_new_writes_an_experiment_that_keeps_the_rules(tmp_path, monkeypatch, vifx_command):
    monkeypatch.chdir(tmp_path)
    assert vifx_command("new", "my_vae").out == "my_vae.py: edit it, then: vifx train my_vae.py\n"
    text = (tmp_path / "my_vae.py").read_text()
    assert "Command:  vifx train my_vae.py" in text
    assert vifx_command("new", "my_vae").message.startswith("'my_vae.py' already exists")
    assert vifx_command("new", "my-vae").message.startswith("NAME must be letters, digits and underscores")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", "my_vae.py"], check=False)
    assert done.returncode == 0
    explained = vifx_command("explain", "my_vae", "--latent", "3")
    assert "KL(encoder(z | x) ‖ q(z))" in explained.out.replace("\n", " ") or "encoder(z | x)" in explained.out


@pytest.mark.thorough
def test_new_trains(tmp_path, monkeypatch, vifx_command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIFX_DATA", str(tmp_path))
    vifx_command("new", "my_vae")
    result = vifx_command("train", "my_vae", "--run", "run", *TINY_RUN, "--latent", "2", "--bound-examples", "8")
    assert result.code == 0, result.err
    opened = runs.open_run("run")
    assert (opened.file.path.name, vars(opened.config)["latent"]) == ("my_vae.py", 2)
