"""A run from training to samples: what it writes, what it says, and that it resumes bit for bit."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from cli.conftest import leaves
from PIL import Image

from vifx import distributions, networks
from vifx.cli.remedy import damage_remedied
from vifx.experiment.rules import to_json
from vifx.experiment.run import open_run, reproduction
from vifx.training import CheckpointError, Checkpoints, read_metrics


def test_train_writes_everything_and_says_where(tiny, vifx_command, tmp_path):
    run = tmp_path / "ein Lauf – ünï"
    result = vifx_command("train", tiny, "--run", run, "--latent", "3")
    assert result.code == 0
    assert result.err == ""
    names = {p.name for p in run.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "results.json", "checkpoints", "figures", "report.html"}
    assert {p.name for p in (run / "figures").iterdir()} == {"samples.png", "loss.png", "bound.png"}
    record = json.loads((run / "config.json").read_text())
    assert record["config"]["latent"] == 3
    assert record["config"]["learning_rate"] == 0.01
    assert record["versions"]["jax"] == jax.__version__
    assert record["stretches"] == [{"at": 0, "processes": 1, "devices": "1 × cpu (cpu)", "mesh": None}]
    assert record["command"] == ["vifx", "train", str(tiny), "--latent", "3"]
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == [2, 4, 6, 8]
    lines = result.out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("step")] == ["2/8", "4/8", "6/8", "8/8"]
    assert "steps/s" in lines[4]
    assert "ETA 0:00" in lines[5]
    assert f"figures  {run / 'figures'}" in lines
    assert f"report   {run / 'report.html'}" in lines
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "A tiny autoencoder on random bits." in page


@pytest.mark.thorough
def test_says_what_was_decided_about_the_data_and_records_what_was_chosen(tiny, vifx_command, tmp_path):
    told = "data.from_arrays(train={'x': bits[:40]}, test={'x': bits[40:]}, validation=8)"
    text = tiny.read_text().replace(told.replace("'", '"'), f"noted({told})")
    noted = 'dataclasses.replace(s, info=dataclasses.replace(s.info, notes=("reads x=a and leaves out b",)))'
    tiny.write_text(f"{text}\n\ndef noted(s):\n    import dataclasses\n    return {noted}\n")
    options = ("--data.features", "x=image,y=label", "--data.test", "0.3", "--steps", "2")
    result = vifx_command("train", tiny, "--run", "run", *options)
    assert result.code == 0
    assert "data digits: reads x=a and leaves out b" in result.out.splitlines()
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (record["config"]["data"]["features"], record["config"]["data"]["test"]) == ("x=image,y=label", 0.3)
    assert record["command"][3:] == ["--steps", "2", "--data.test", "0.3", "--data.features", "x=image,y=label"]


@pytest.mark.thorough
def test_says_what_it_measures_before_it_does(tiny, vifx_command, trained):
    assert "measuring on the test split; then drawing" in trained().result.out.splitlines()
    tiny.write_text(
        tiny.read_text().replace("poison: bool = False", "poison: bool = False\n    bound_examples: int = 7")
    )
    few = vifx_command("train", tiny, "--steps", "2").out.splitlines()
    assert "measuring on the test split, the K-sample bounds on 7 examples of it; then drawing" in few
    many = vifx_command("train", tiny, "--steps", "2", "--bound-examples", "10000").out.splitlines()
    assert "measuring on the test split, the K-sample bounds on 20 examples of it; then drawing" in many


@pytest.mark.thorough
def test_table_shows_the_recorded_results(trained):
    run, result = trained()
    recorded = json.loads((run / "results.json").read_text())["metrics"]
    assert set(recorded) >= {"elbo", "kl/z", "nll/x", "iwae/1", "iwae/4", "active_units"}
    assert recorded["elbo"]["value"] == pytest.approx(-recorded["kl/z"]["value"] - recorded["nll/x"]["value"], rel=1e-5)
    assert recorded["iwae/1"]["value"] < recorded["iwae/4"]["value"]
    row = next(line for line in result.out.splitlines() if line.startswith("elbo"))
    assert float(row.split()[1].replace("−", "-")) == pytest.approx(recorded["elbo"]["value"], abs=0.05)


@pytest.mark.thorough
def test_resume_extends_to_the_same_run(tiny, vifx_command, copied, tmp_path):
    copied("whole")
    assert vifx_command("train", tiny, "--run", "parts", "--steps", "4").code == 0
    assert vifx_command("resume", "parts", "--steps", "8").code == 0
    assert leaves(tmp_path / "parts") == leaves(tmp_path / "whole")
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("parts", "whole")]
    assert logs[0] == logs[1]
    assert to_json(open_run("parts").config) == to_json(open_run("whole").config)
    for name in ("figures/samples.png", "figures/loss.png", "results.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.thorough
def test_another_seed_or_latent_is_another_run(tiny, vifx_command, trained, tmp_path):
    vifx_command("train", tiny, "--run", "b", "--seed", "1")
    assert leaves(trained().run) != leaves(tmp_path / "b")


@pytest.mark.thorough
def test_recorded_command_reproduces_the_run(tiny, vifx_command, tmp_path):
    options = ["--hidden", "3", "4", "--flavour", "chocolate", "--steps", "2", "--data.batch-size", "8"]
    vifx_command("train", tiny, "--run", "a", *options)
    command = json.loads((tmp_path / "a" / "config.json").read_text())["command"]
    assert vifx_command(*command[1:], "--run", "b").code == 0
    assert leaves(tmp_path / "a") == leaves(tmp_path / "b")


@pytest.mark.thorough
def test_sharding_over_devices_gives_the_same_metrics(tiny, vifx_command, trained, tmp_path):
    vifx_command("train", tiny, "--run", "eight", "--steps", "4", "--mesh", "data=8")
    eight = read_metrics(tmp_path / "eight" / "metrics.jsonl")[-1]
    (one,) = (row for row in read_metrics(trained().run / "metrics.jsonl") if row["step"] == eight["step"])
    assert eight["elbo"] == pytest.approx(one["elbo"], rel=1e-5)


@pytest.mark.thorough
def test_evaluate_repeats_what_training_found(copied, vifx_command, tmp_path):
    first = copied("run")
    before = (tmp_path / "run" / "results.json").read_bytes()
    again = vifx_command("evaluate", "run")
    assert again.code == 0
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    assert again.out.splitlines()[-6:] == first.out.splitlines()[-6:]


@pytest.mark.thorough
def test_results_are_of_the_best_checkpoint(tiny, vifx_command, tmp_path):
    vifx_command("train", tiny, "--run", "run", "--learning-rate", "0.5", "--checkpoint-every", "2", "--steps", "12")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    best = min(rows, key=lambda row: row["validation/loss"])["step"]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["step"] == best


@pytest.mark.thorough
def test_sample_draws_n_images_with_temperature(copied, vifx_command, tmp_path):
    copied("run")
    result = vifx_command("sample", "run", "--n", "9", "--temperature", "0.5", "--out", "nine.png")
    assert result.code == 0
    assert "9 samples at temperature 0.5: nine.png" in result.out
    assert vifx_command("sample", "run", "--n", "9", "--temperature", "1.5", "--out", "hot.png").code == 0
    assert vifx_command("sample", "run", "--n", "9", "--temperature", "0.5", "--out", "again.png").code == 0
    nine, hot = (np.asarray(Image.open(tmp_path / name)) for name in ("nine.png", "hot.png"))
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "nine.png").read_bytes()
    assert not np.array_equal(nine, hot)
    assert vifx_command("sample", "run", "--n", "9", "--columns", "9", "--out", "row.png").code == 0
    height, width = np.asarray(Image.open(tmp_path / "row.png")).shape[:2]
    assert width > 5 * height


def test_divergence_stops_with_the_reason_and_resumable_state(tiny, vifx_command, tmp_path):
    result = vifx_command("train", tiny, "--run", "run", "--learning-rate", "1e30")
    assert result.code == 1
    assert "diverged at update" in result.message
    assert all(np.isfinite(row["elbo"]) for row in read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_explain_derives_the_elbo(tiny, vifx_command, files, tmp_path):
    before = files(tmp_path)
    text = vifx_command("explain", tiny)
    assert text.code == 0
    assert "p̃(x) · encoder(z | x)" in text.out
    assert "− H(p̃(x))" in text.out
    assert "closed form" in text.out
    assert r"\begin{align*}" in vifx_command("explain", tiny, "--latex").out
    assert files(tmp_path) == before


def test_list_shows_every_part(tiny, vifx_command, tmp_path):
    (tmp_path / "experiments").mkdir()
    tiny.rename(tmp_path / "experiments" / "tiny.py")
    words = vifx_command("list").out.split()
    assert {"experiments/tiny.py", "digits", "fashion_mnist", "kl", "importance_weighted", "in_turn"} <= set(words)
    assert set(networks.__all__) | set(distributions.__all__) <= set(words)
    assert {"gaussian", "bernoulli", "mixture", "hmm", "k_means", "exact_posterior", "solve"} <= set(words)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train", "--help"], ["sample", "--help"], ["data", "--help"]])
def test_help(arguments, vifx_command):
    result = vifx_command(*arguments)
    assert result.code == 0
    assert "usage: vifx" in result.out
    assert result.err == ""


def test_help_of_an_experiment_lists_its_options_with_their_text(tiny, vifx_command):
    out = vifx_command("train", tiny, "--help").out
    for words in (
        "--latent",
        "--learning-rate",
        "--data.batch-size",
        "--run",
        "Seed of everything random",
        "A tiny",
        "rounded up",
    ):
        assert words in out


def _wait_for(path: Path, rows: int) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < rows:
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_resume_ends_where_the_uninterrupted_run_does(
    number, tiny, vifx_command, executable, copied, tmp_path
):
    options = ["--steps", "400", "--checkpoint-every", "100"]
    copied("whole", *options)
    environment = os.environ | {"JAX_NUMPY_RANK_PROMOTION": "raise"}
    process = subprocess.Popen(
        [*executable, "train", str(tiny), "--run", "cut ✂", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    _wait_for(tmp_path / "cut ✂" / "metrics.jsonl", 3)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "vifx resume 'cut ✂'" in " ".join(err.decode().split())
    assert "Traceback" not in err.decode()
    assert 6 <= int(leaves(tmp_path / "cut ✂")["step"]) < 400
    assert out.decode().count("step") >= 3
    assert vifx_command("resume", "cut ✂").code == 0
    assert leaves(tmp_path / "cut ✂") == leaves(tmp_path / "whole")
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("cut ✂", "whole")]
    assert logs[0] == logs[1]


@pytest.mark.first(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_before_training_is_one_line(number, tiny, executable, files, tmp_path):
    tiny.write_text(f"import pathlib, time\npathlib.Path({str(tmp_path / 'here')!r}).touch()\ntime.sleep(100)\n")
    process = subprocess.Popen([*executable, "train", str(tiny)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "here").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert (out, err) == (b"", b"interrupted before training; nothing was saved\n")
    assert files(tmp_path) == {"tiny.py", "here"}


class Interruption:
    """Finds no module: Ctrl-C comes first."""

    def find_spec(self, name, path=None, target=None):
        raise KeyboardInterrupt


def test_signal_while_the_command_is_imported_is_one_line(vifx_command, monkeypatch):
    monkeypatch.delitem(sys.modules, "vifx.cli.command", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interruption()])
    before = signal.getsignal(signal.SIGTERM)
    for name, message in (("train", "interrupted before training; nothing was saved\n"), ("list", "interrupted\n")):
        assert vifx_command(name) == (130, "", message)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.thorough
def test_closed_pipe_is_quiet(tiny, executable, tmp_path):
    with open(tmp_path / "errors", "wb") as errors:
        command = [*executable, "train", str(tiny), "--run", "run"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 128 + signal.SIGPIPE
    assert (tmp_path / "errors").read_text() == ""


def test_checkpoint_of_another_config_is_refused(copied):
    copied("run")
    run = open_run("run")
    with (
        Checkpoints(run.checkpoints, config_hash="another", write=False) as checkpoints,
        pytest.raises(CheckpointError, match="another config"),
    ):
        checkpoints.restore({})


@pytest.mark.thorough
def test_resume_from_an_earlier_checkpoint_makes_the_same_run_again(copied, vifx_command, tmp_path):
    copied("run")
    first = leaves(tmp_path / "run")
    assert vifx_command("resume", "run", "--from-step", "4").code == 0
    assert leaves(tmp_path / "run") == first
    result = vifx_command("resume", "run", "--from-step", "3")
    assert result.code == 1
    assert "no checkpoint of step 3" in result.message


@pytest.mark.thorough
@pytest.mark.parametrize("empty", [False, True])
def test_resume_without_checkpoints_is_refused(empty, tiny, vifx_command, files, tmp_path):
    vifx_command("train", tiny, "--run", "run", "--steps", "2", "--latent", "3")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    if empty:
        (tmp_path / "run" / "checkpoints").mkdir()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    result = vifx_command("resume", "run", "--steps", "4")
    assert result.code == 2
    again = f"vifx train {tiny} --steps 2 --latent 3 --run OTHER"
    assert result.message == f"there is no checkpoint in 'run'; start again with: {again}"
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)} == before
    assert vifx_command(*shlex.split(again)[1:]).code == 0


SCHEDULE = (
    "optax.adam(config.learning_rate)",
    "optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))",
)
LAZY = (
    "optax.adam(config.learning_rate)",
    "optax.adam(lambda count: config.learning_rate * (1 - count / config.steps))",
)


@pytest.mark.thorough
@pytest.mark.parametrize("schedule", [SCHEDULE, LAZY])
def test_extending_what_schedules_read_is_refused_or_recorded(schedule, tiny, vifx_command, tmp_path):
    tiny.write_text(tiny.read_text().replace(*schedule))
    assert vifx_command("train", tiny, "--run", "whole").code == 0
    assert vifx_command("train", tiny, "--run", "short", "--steps", "4").code == 0
    hashes = [json.loads((tmp_path / name / "config.json").read_text())["config_hash"] for name in ("whole", "short")]
    assert hashes[0] != hashes[1]
    before = (tmp_path / "short" / "config.json").read_bytes()
    refused = vifx_command("resume", "short", "--steps", "8")
    assert refused.code == 2
    assert f"a schedule of {tiny} reads `steps`, so this run of 4 updates, extended to 8" in refused.message
    assert f"would not be the run of 8; start that with: vifx train {tiny} --run OTHER;" in refused.message
    assert (tmp_path / "short" / "config.json").read_bytes() == before
    assert vifx_command("resume", "short", "--steps", "4").code == 0
    assert vifx_command("resume", "short", "--steps", "8", "--change-schedule").code == 0
    assert leaves(tmp_path / "short") != leaves(tmp_path / "whole")
    record = json.loads((tmp_path / "short" / "config.json").read_text())
    assert record["extensions"] == [{"at": 4, "before": 4, "after": 8}]
    assert record["config_hash"] not in hashes
    assert record["config"]["steps"] == 8
    commands = [["vifx", "train", str(tiny), "--steps", "4", "--run", "RUN"]]
    commands += [["vifx", "resume", "RUN", "--steps", "8", "--from-step", "4", "--change-schedule"]]
    assert reproduction(open_run("short")) == commands
    page = (tmp_path / "short" / "report.html").read_text()
    assert all(shlex.join(command) in page for command in commands)
    for command in commands:
        assert vifx_command(*command[1:]).code == 0
    assert leaves(tmp_path / "RUN") == leaves(tmp_path / "short")
    again = vifx_command("resume", "short", "--from-step", "4")
    assert again.code == 0
    assert leaves(tmp_path / "RUN") == leaves(tmp_path / "short")


@pytest.mark.thorough
def test_updates_of_another_schedule_are_not_made_again_under_this_one(tiny, vifx_command):
    tiny.write_text(tiny.read_text().replace(*SCHEDULE))
    options = ("--checkpoint-every", "2")
    assert vifx_command("train", tiny, "--run", "run", "--steps", "4", *options).code == 0
    assert vifx_command("resume", "run", "--steps", "6", "--change-schedule").code == 0
    result = vifx_command("resume", "run", "--from-step", "2")
    assert result.code == 2
    assert "the updates up to 4 of this run followed the schedule of 4 updates" in result.message


@pytest.mark.thorough
def test_an_extension_that_no_schedule_reads_is_recorded_and_one_command_reproduces_it(tiny, vifx_command, tmp_path):
    assert vifx_command("train", tiny, "--run", "run", "--steps", "4").code == 0
    assert vifx_command("resume", "run", "--steps", "6").code == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["extensions"] == [{"at": 4, "before": 4, "after": 6}]
    assert reproduction(open_run("run")) == [["vifx", "train", str(tiny), "--steps", "6"]]
    assert record["config_hash"] == open_run("run").identity


@pytest.mark.thorough
@pytest.mark.parametrize("cut", [100, None])
def test_a_damaged_or_lost_best_checkpoint_is_said_and_nothing_is_redrawn(cut, copied, vifx_command, tmp_path):
    copied("run", "--learning-rate", "0.5", "--checkpoint-every", "2", "--steps", "12")
    best = json.loads((tmp_path / "run" / "results.json").read_text())["step"]
    steps = sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdecimal())
    assert best < steps[-1]
    if cut is None:
        shutil.rmtree(tmp_path / "run" / "checkpoints" / str(best))
    else:
        metadata = tmp_path / "run" / "checkpoints" / str(best) / "manifest" / "metadata"
        metadata.write_bytes(metadata.read_bytes()[:cut])
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    others = [step for step in steps if step != best]
    for arguments in (("evaluate", "run"), ("sample", "run")):
        result = vifx_command(*arguments)
        assert result.code == 2
        assert f"checkpoints/{best}" in result.message
        assert f"or name another checkpoint with --step, of {others[0]} or {others[1]}" in result.message
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()} == written
    named = vifx_command("evaluate", "run", "--step", others[0])
    assert named.code == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["step"] == others[0]
    assert vifx_command("sample", "run", "--step", others[1], "--n", "1").code == 0


@pytest.mark.thorough
def test_run_that_was_stopped_before_its_first_row_can_be_resumed(copied, vifx_command, tmp_path):
    copied("run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert vifx_command("resume", "run").code == 0


@pytest.mark.thorough
def test_damaged_checkpoint_names_the_command_that_goes_on(copied, vifx_command, tmp_path):
    copied("run")
    whole = leaves(tmp_path / "run")
    damaged = next(p for p in (tmp_path / "run" / "checkpoints" / "8" / "state").rglob("*") if p.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    command = "vifx resume run --from-step 4"
    for name, code, remedy in (
        ("resume", 1, f"go on from another checkpoint with: {command}"),
        ("evaluate", 2, f"make it again with: {command}"),
        ("sample", 2, f"make it again with: {command}"),
    ):
        result = vifx_command(name, "run")
        assert result.code == code
        named = "" if name == "resume" else ", or name another checkpoint with --step, of 4"
        assert result.message.endswith(f"damaged; {remedy}{named}")
    assert vifx_command(*shlex.split(command)[1:]).code == 0
    assert leaves(tmp_path / "run") == whole
    error = CheckpointError("4: damaged", step=4, others=[8])
    with (
        pytest.raises(CheckpointError, match="no earlier checkpoint"),
        damage_remedied(open_run("run"), resuming=False),
    ):
        raise error
