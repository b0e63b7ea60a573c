"""A benchmark trains every family for the same time, keeps what is complete, and says what has failed."""

from __future__ import annotations

import csv
import json

import pytest

from vifx.cli import benchmarking
from vifx.experiment.comparison import COLUMNS, Cell, compared, controls
from vifx.experiment.suite import read_suite, suites
from vifx.training import Interrupted

SUITE = """
title = "Random bits"
columns = ["log_prob", "active_units"]
[options]
"data.batch-size" = 8
[families.Timed]
experiment = "{tiny}"
options = {{ hidden = [4, 3] }}
[families."Four updates"]
experiment = "{tiny}"
steps = 4
options = {{ latent = 1 }}
[families.Poisoned]
experiment = "{tiny}"
steps = 4
options = {{ poison = true }}
"""


@pytest.fixture
def bits(tmp_path, tiny):
    path = tmp_path / "bits.toml"
    path.write_text(SUITE.format(tiny=tiny))
    return path


def test_families_are_timed_trained_and_compared_and_what_failed_is_tried_again(
    vifx_command, bits, tmp_path, monkeypatch
):
    monkeypatch.setattr(benchmarking, "_LEAST", 0.0)
    monkeypatch.setattr(benchmarking, "_seconds_per_update", lambda built, config: 0.01)
    folder = tmp_path / "found"
    command = ["benchmark", str(bits), "--minutes", "0.002", "--seeds", "2", "--run", str(folder)]
    found = vifx_command(*command)
    assert found.code == 1
    assert "2 runs have failed: see" in found.message
    assert "poisoned/seed=0.log" in found.message
    assert "Timed, seed 1: 12 updates in" in found.out  # 0.12 seconds of 0.01 each
    assert "Four updates, seed 0: 4 updates in" in found.out
    config = json.loads((folder / "timed/seed=1/config.json").read_text())["config"]
    assert (config["hidden"], config["seed"], config["steps"]) == ([4, 3], 1, 12)
    table = json.loads((folder / "table.json").read_text())
    results = [json.loads((folder / f"timed/seed={seed}/results.json").read_text())["metrics"] for seed in (0, 1)]
    bounds = sorted(each["elbo"]["value"] for each in results)
    cell = table["rows"][0]["cells"]["log_prob"]
    assert cell == {"median": sum(bounds) / 2, "low": bounds[0], "high": bounds[1], "side": "≥"}
    with (folder / "table.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["", "Timed", "Four updates", "Poisoned (failed)"]
    assert rows[1][-3:-1] == ["190", "12"]  # parameters: 68 + 15 + 16 of the encoder, 12 + 15 + 64 of the decoder
    assert (folder / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    again = vifx_command(*command)
    assert again.out.count("complete") == 4
    assert (
        "made with minutes 0.002, and not 3.0; give another folder"
        in vifx_command(*command[:3], "3", *command[4:]).message
    )


def test_where_all_have_failed_there_is_no_table(vifx_command, bits, tmp_path):
    folder = tmp_path / "found"
    found = vifx_command("benchmark", str(bits), "--families", "Poisoned", "--run", str(folder))
    assert found.code == 1
    assert "all runs have failed, so that there is no table: see" in found.message
    assert "poisoned/seed=0.log" in found.message
    assert not (folder / "table.csv").exists()


@pytest.mark.thorough
def test_updates_are_timed_after_the_first_which_compiles(vifx_command, bits, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarking, "_LEAST", 0.05)
    folder = tmp_path / "found"
    found = vifx_command("benchmark", str(bits), "--minutes", "0.005", "--families", "Timed", "--run", str(folder))
    assert found.code == 0
    budget = json.loads((folder / "timed/budget.json").read_text())
    assert 0 < budget["seconds_per_update"] < 0.05
    assert budget["updates"] == max(1, int(0.3 / budget["seconds_per_update"] / 2)) * 2
    spent = json.loads((folder / "timed/seed=0.json").read_text())
    assert spent["updates"] == budget["updates"]
    assert spent["seconds"] == budget["updates"] * budget["seconds_per_update"]


@pytest.mark.thorough
def test_an_interrupted_benchmark_goes_on_with_the_run_that_was_saved(vifx_command, bits, tmp_path, monkeypatch):
    folder, whole = tmp_path / "found", benchmarking.fit_run

    def stopped(run, built, *, observe):
        def first(event):
            if event.kind == "checkpoint":
                raise Interrupted(event.step, run.directory, 15)

        return whole(run, built, observe=first)

    command = ["benchmark", str(bits), "--families", "Timed", "--run", str(folder)]
    monkeypatch.setattr(benchmarking, "_seconds_per_update", lambda built, config: 50.0)  # of 600
    monkeypatch.setattr(benchmarking, "fit_run", stopped)
    assert vifx_command(*command).code != 0
    monkeypatch.setattr(benchmarking, "fit_run", whole)
    assert "Timed, seed 0: 12 updates" in vifx_command(*command).out
    steps = [json.loads(line)["step"] for line in (folder / "timed/seed=0/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(2, 13, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3\ncolumns = []\n[families]", "title of the file must be a str, got 3"),
        ('title = "x"', "the file must have an entry 'columns', found title"),
        ('title = "x"\ncolumns = ["fdm"]\n[families]', "unknown column 'fdm'; did you mean 'fmd'?"),
        ('title = "x"\ncolumns = []\nfamilis = 1\n[families]', "unknown entry 'familis'; did you mean 'families'?"),
        ('title = "x"\ncolumns = []\n[families]\nA = 1', "families.A must be a table with an experiment, got 1"),
        (
            'title = "x"\ncolumns = []\n[families.A]\nsteps = 1',
            "families.A must have an entry 'experiment', found steps",
        ),
        (
            'title = "x"\ncolumns = []\n[families.A]\nexperiment = "gmm"\n[families.a]\nexperiment = "gmm"',
            "families must have names of letters and digits that differ, got ['A', 'a']",
        ),
        ("title = ", "not a TOML file: Invalid value"),
    ],
)
def test_a_file_that_is_no_benchmark_is_refused(vifx_command, tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    found = vifx_command("benchmark", str(path))
    assert found.code == 2
    assert message in found.message


def test_names_of_benchmarks_and_families_are_checked_before_anything_is_written(vifx_command, bits, tmp_path):
    assert "there is no benchmark 'digit'; did you mean 'digits'?" in vifx_command("benchmark", "digit").message
    found = vifx_command("benchmark", str(bits), "--families", "Time", "--run", str(tmp_path / "not"))
    assert "--families has 'Time'; bits has Timed, Four updates, Poisoned" in found.message
    wrong = bits.read_text().replace("latent = 1", "latnt = 1")
    bits.write_text(wrong)
    found = vifx_command("benchmark", str(bits), "--run", str(tmp_path / "not"))
    assert "family Four updates: unknown option '--latnt'" in found.message
    assert not (tmp_path / "not").exists()


def test_the_benchmarks_that_come_with_vifx_can_be_read():
    assert {"digits", "fashion_mnist", "two_moons", "twonorm"} <= set(suites())
    for name in suites():
        suite = read_suite(name)
        assert len(suite.families) > 3
        assert set(suite.columns) <= set(COLUMNS)


def test_a_row_has_the_first_source_that_all_runs_have_and_controls_have_theirs():
    runs = [
        {"nll/x": 3.0, "fmd": 7.0, "fmd/train_images": 1.0, "nll/x/true": 2.0, "elbo": -9.0},
        {"nll/x": 5.0, "fmd": 4.0, "fmd/train_images": 1.5},
        {"nll/x": 4.0},
    ]
    row = compared("flow", runs, ["log_prob", "fmd"])
    assert row.cells == {"log_prob": Cell(-4.0, -5.0, -3.0, "")}
    assert str(row.cells["log_prob"]) == "−4 (−5 to −3)"
    assert compared("vae", [{"elbo": -2.5, "nll/x": 1.0}], ["log_prob"]).cells["log_prob"] == Cell(
        -2.5, -2.5, -2.5, "≥"
    )
    found = {row.name: row.cells for row in controls(runs, ["log_prob", "fmd"])}
    assert found["train images"] == {"fmd": Cell(1.0, 1.0, 1.0)}
    assert found["the true law"] == {"log_prob": Cell(-2.0, -2.0, -2.0)}
