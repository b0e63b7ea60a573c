"""The files in docs/launch: their commands are commands of vifx, and the SLURM script trains, stops and goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cli.conftest import leaves

from vifx.cli.file_options import TrainOptions
from vifx.cli.options import ResumeOptions, read_options
from vifx.cli.prepare import parse_experiment
from vifx.training import read_metrics
from vifx.training.launchers import detected

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "docs" / "launch"
LAUNCHERS = Path(__file__).with_name("launchers")
EVERYWHERE = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "MESH": "data=16"}


def kubernetes():
    """The pod of the JobSet: its shell program, its variables, and what it asks for."""
    job = yaml.safe_load((LAUNCH / "gke-tpu.yaml").read_text())
    (workers,) = job["spec"]["replicatedJobs"]
    pod = workers["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return workers["template"]["spec"], pod, container


def sky_pilot():
    return yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())


def program(name):
    """The shell program of a launch file and the variables that the file sets."""
    if name == "skypilot.yaml":
        return sky_pilot()["run"], sky_pilot()["envs"]
    if name == "gke-tpu.yaml":
        *shell, text = kubernetes()[2]["command"]
        assert shell == ["bash", "-c"]
        return text, {variable["name"]: variable["value"] for variable in kubernetes()[2]["env"]}
    return (LAUNCH / name).read_text(), {}


def called(name, directory, **variables):
    """Run a launch file with a `vifx` that writes its arguments down; return them."""
    text, variables = program(name)[0], {**program(name)[1], **EVERYWHERE, **variables}
    path = directory / "bin"
    if not path.exists():
        shutil.copytree(LAUNCHERS, path)
        (path / "vifx").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>called\n')
        (path / "vifx").chmod(0o755)
    (directory / "called").unlink(missing_ok=True)
    environment = {**os.environ, **variables, "PATH": f"{path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", text], cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (directory / "called").read_text().splitlines()


@pytest.mark.parametrize("name", ["slurm.sh", "skypilot.yaml", "gke-tpu.yaml", "one-box.sh"])
def test_a_launch_file_trains_and_goes_on_with_options_that_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    where = {"RUN": str(tmp_path / "run"), "RUNS": str(tmp_path)}
    run = tmp_path / ("4711" if name == "slurm.sh" else "run")
    command, *arguments = called(name, tmp_path, **where)
    assert command == "train"
    file, config, options = parse_experiment(arguments, "train", TrainOptions)
    assert file.path.is_file()
    assert (config.mesh, options.distributed, options.run) == ("data=16", "auto", run)
    assert config.data.batch_size % 16 == 0
    (run / "checkpoints" / "1000").mkdir(parents=True)
    command, *arguments = called(name, tmp_path, **where)
    assert command == "resume"
    options = read_options("resume", arguments)
    assert isinstance(options, ResumeOptions)
    assert (options.directory, options.mesh, options.distributed) == (run, "data=16", "auto")


def test_every_launch_file_is_tested_and_on_the_page():
    page = (LAUNCH / "index.md").read_text()
    files = {path.name for path in LAUNCH.iterdir()} - {"index.md"}
    assert files == {"slurm.sh", "skypilot.yaml", "gke-tpu.yaml", "one-box.sh"}
    assert all(f"({name})" in page for name in files)


def test_what_the_files_ask_for_is_what_the_mesh_has():
    job, pod, container = kubernetes()
    hosts, chips = job["parallelism"], container["resources"]["limits"]["google.com/tpu"]
    rows, columns = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    assert job["completions"] == hosts
    assert hosts * chips == rows * columns == 16
    (port,) = container["ports"]
    names = {"TPU_WORKER_HOSTNAMES": ",".join(f"vifx-workers-0-{i}.vifx" for i in range(hosts)), "TPU_WORKER_ID": "2"}
    found = detected(names)
    assert (found.coordinator, found.count, found.index) == (f"vifx-workers-0-0.vifx:{port['containerPort']}", 4, 2)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    sky = sky_pilot()
    assert sky["num_nodes"] * int(sky["resources"]["accelerators"].partition(":")[2]) == 16
    assert sky["envs"]["RUN"].startswith(tuple(sky["file_mounts"]))
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", (LAUNCH / "slurm.sh").read_text(), re.MULTILINE))
    assert int(asked["nodes"]) * int(asked["gpus-per-node"]) == 16
    extras = re.search(r"pip install '\.\[(\w+)\]'", sky["setup"])[1]
    assert f"\n{extras} = [" in (ROOT / "pyproject.toml").read_text()


def test_a_run_without_a_checkpoint_is_set_aside_by_a_requeued_job(tmp_path):
    (tmp_path / "4711").mkdir()
    (tmp_path / "4711" / "config.json").write_text("{}")
    assert called("slurm.sh", tmp_path, RUNS=str(tmp_path), SLURM_RESTART_COUNT="1")[0] == "train"
    assert (tmp_path / "4711.without-checkpoint.1" / "config.json").is_file()


OPTIONS = ("--steps", "120", "--log-every", "5", "--checkpoint-every", "30")


@pytest.mark.thorough
def test_two_processes_train_under_slurm_are_stopped_and_go_on(tiny, tmp_path, vifx_command):
    """Two hosts of two devices each; SIGTERM in the middle; the job is requeued, and its log is that of one process."""
    path = shutil.copytree(LAUNCHERS, tmp_path / "bin")
    (path / "vifx").write_text(f'#!/usr/bin/env bash\nexec {sys.executable} -m vifx "$@"\n')
    (path / "vifx").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{path}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "SLURM_JOB_ID": "4711",
        "SLURM_NTASKS": "2",
        "EXPERIMENT": str(tiny),
        "OPTIONS": " ".join(OPTIONS),
        "MESH": "data=4",
    }
    log = tmp_path / "runs" / "4711" / "metrics.jsonl"
    with subprocess.Popen(["bash", str(LAUNCH / "slurm.sh")], env=environment, stderr=subprocess.PIPE) as job:
        until = time.monotonic() + 120
        while not log.exists() or len(log.read_bytes().splitlines()) < 3:
            assert job.poll() is None, said(tmp_path)
            assert time.monotonic() < until, said(tmp_path)
            time.sleep(0.01)
        os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGTERM)
        assert job.wait(60) == 143, said(tmp_path)
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4711\n"
    stopped = [row["step"] for row in read_metrics(log)][-1]
    assert 15 <= stopped < 120
    assert f"interrupted: saved after update {stopped};" in said(tmp_path)
    done = subprocess.run(["bash", str(LAUNCH / "slurm.sh")], env=environment, stderr=subprocess.PIPE, timeout=300)
    assert done.returncode == 0, said(tmp_path)
    assert "process 0 of 2, by SLURM, which meet at localhost:" in said(tmp_path)
    assert vifx_command("train", tiny, "--run", "alone", *OPTIONS).code == 0
    for found, row in zip(read_metrics(log), read_metrics("alone/metrics.jsonl"), strict=True):
        assert found == pytest.approx(row, rel=1e-5, abs=1e-6)
    assert leaves(tmp_path / "runs" / "4711").keys() == leaves(tmp_path / "alone").keys()
    (stretch,) = json.loads((tmp_path / "runs" / "4711" / "config.json").read_text())["stretches"]
    assert (stretch["processes"], stretch["mesh"]) == (2, "data=4")


def said(directory):
    return "".join(f"{path.name}:\n{path.read_text()}" for path in sorted(directory.glob("task*.out")))
