"""A sweep is the runs that `vifx train` makes, and goes on where it was."""

from __future__ import annotations

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest
from cli.conftest import leaves

from vifx.experiment.sweep import Sweep, grid, summary, write_summary
from vifx.training import read_metrics

SCRIPT = "from vifx.cli import script\nscript()\n"


def results(directory, metrics):
    directory.mkdir(parents=True)
    rows = {name: {"value": value, "standard_error": None, "unit": ""} for name, value in metrics.items()}
    (directory / "results.json").write_text(json.dumps({"metrics": rows}))
    log = [{"step": step, "loss": metrics["elbo"] * step} for step in (1, 2)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))


def test_the_table_has_the_median_and_the_range_over_seeds(tmp_path):
    sweep = Sweep(tmp_path, grid({"latent": ["2", "4"]}, range(3)))
    values = {"2": [3.0, 1.0, 8.0], "4": [5.0, 4.0]}  # the last run of 4 is not complete
    for point in sweep.points[:-1]:
        results(sweep.run(point), {"elbo": values[point.values["latent"]][point.seed]})
    two, four = summary(sweep)
    assert (two.values, two.runs, two.metrics) == ({"latent": "2"}, 3, {"elbo": (3.0, 1.0, 8.0)})
    assert (four.runs, four.metrics) == (2, {"elbo": (statistics.median([5.0, 4.0]), 4.0, 5.0)})
    written = write_summary(sweep, "loss")
    assert [path.name for path in written] == ["sweep.md", "sweep.csv", "sweep.png", "sweep.html"]
    assert "<td>3 (1 to 8)</td>" in written[3].read_text()
    assert "| 2 | 3 | 3 (1 to 8) |" in written[0].read_text()
    with written[1].open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"latent": "2", "runs": "3", "elbo median": "3.0", "elbo smallest": "1.0", "elbo largest": "8.0"}
    assert written[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "latent"], "--grid must be OPTION=VALUE,VALUE,…, such as latent=8,16; got 'latent'"),
        (["--grid", "latent=2,"], "--grid must be OPTION=VALUE"),
        (["--grid", "seed=1,2"], "--grid cannot hold seeds; give their number with --seeds"),
        (["--grid", "latent=2", "--grid", "latent=3"], "--grid names latent twice"),
        (["--grid", "latent=2,0"], "--latent must be a positive integer; got 0"),
        (["--grid", "latnt=2,3"], "unknown option '--latnt'; did you mean '--latent'"),
        (["--seeds", "0"], "--seeds must be a positive integer"),
        (["--seeds", "2", "--vmap-seeds", "--jobs", "2"], "--jobs must be 1 with --vmap-seeds"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tiny, vifx_command, tmp_path, options, message):
    before = set(tmp_path.iterdir())
    result = vifx_command("sweep", tiny, *options)
    assert result.code == 2
    assert message in result.message.replace('"', "'")
    assert not (tmp_path / "runs").exists()
    assert {path for path in set(tmp_path.iterdir()) - before if path.name not in ("__pycache__", "data")} == set()


@pytest.mark.thorough
def test_a_sweep_that_was_stopped_goes_on_and_each_run_is_that_of_train(tiny, tmp_path, vifx_command):
    arguments = ["sweep", str(tiny), "--steps", "600", "--grid", "latent=2,3", "--jobs", "2", "--run", "all"]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as first:
        until = time.monotonic() + 90
        while len(list(tmp_path.glob("all/*/checkpoints/4*"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGINT, err
    assert "the same command goes on with them" in err
    assert not list(tmp_path.glob("all/*/results.json"))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "| 2 | 1 |" in (tmp_path / "all" / "sweep.md").read_text()
    again = vifx_command(*arguments)
    assert again.out.count(": complete") == 2
    for option, was, now in (("--learning-rate", "0.01", "0.5"), ("--steps", "600", "700")):
        refused = vifx_command(*arguments, option, now)
        assert refused.code == 2
        assert f"was made with {option} {was}, and not {now}" in refused.message
    alone = [*command[:3], "train", str(tiny), "--steps", "600", "--latent", "3", "--run", "alone"]
    assert subprocess.run(alone, capture_output=True, env=environment, timeout=300, check=False).returncode == 0
    assert leaves(tmp_path / "alone") == leaves(tmp_path / "all" / "latent=3,seed=0")


@pytest.mark.thorough
def test_seeds_as_one_program_are_the_runs_one_by_one(tiny, vifx_command, tmp_path):
    done = vifx_command("sweep", tiny, "--seeds", "3", "--vmap-seeds", "--run", "together", "--grid", "latent=2")
    assert done.code == 0, done.err
    assert done.out.count(": complete") == 3
    assert "| 2 | 3 |" in (tmp_path / "together" / "sweep.md").read_text()
    for seed in range(3):
        run = tmp_path / "together" / f"latent=2,seed={seed}"
        assert vifx_command("train", tiny, "--latent", "2", "--seed", str(seed), "--run", str(seed)).code == 0
        rows, alone = (read_metrics(each / "metrics.jsonl") for each in (run, tmp_path / str(seed)))
        assert rows == [pytest.approx(row, rel=1e-5) for row in alone]
        records = [json.loads((each / "config.json").read_text()) for each in (run, tmp_path / str(seed))]
        assert records[0] == records[1]
        assert "test split" in (run.parent / f"{run.name}.log").read_text().lower()
        assert (run / "report.html").is_file()
    assert vifx_command("resume", "together/latent=2,seed=1", "--steps", "12").code == 0
    again = vifx_command("sweep", tiny, "--seeds", "3", "--vmap-seeds", "--run", "together", "--grid", "latent=2")
    assert again.code == 2  # one of them has been extended
    assert "was made with --steps 12, and not 8" in again.message


@pytest.mark.thorough
def test_a_sweep_of_seeds_as_one_program_goes_on_where_it_was_stopped(tiny, tmp_path):
    arguments = ["sweep", str(tiny), "--steps", "600", "--seeds", "2", "--vmap-seeds", "--run", "all"]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        until = time.monotonic() + 90
        while len(list(tmp_path.glob("all/*/checkpoints/[1-9]*"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGINT, err
    assert err.endswith("interrupted; the runs are saved, and the same command goes on with them\n")
    assert not list(tmp_path.glob("all/*/results.json"))
    (tmp_path / "all" / "seed=0" / "checkpoints").rename(tmp_path / "lost")
    (tmp_path / "all" / "seed=1" / "checkpoints" / ".lock").touch()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed=1: begun" in done.stdout  # alone: the runs have no checkpoint in common
    assert done.stdout.count(": complete") == 2


@pytest.mark.thorough
def test_seeds_that_change_more_than_the_order_and_the_noise_are_refused(tiny, vifx_command, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(tiny.read_text().replace("default_rng(0)", "default_rng(config.seed)"))
    refused = vifx_command("sweep", other, "--seeds", "2", "--vmap-seeds", "--run", "all")
    assert "run 1 of fit_together has other examples than run 0" in refused.message
    assert not list((tmp_path / "all").glob("*/config.json"))
