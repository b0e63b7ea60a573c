"""Observers of a run: logs for other programs, against the log that the run keeps, and a line of progress."""

from __future__ import annotations

import csv
import functools
import io
import os
import struct
import sys
from pathlib import Path

import jax
import optax
import pytest
from training.problems import ToyResident, line_data, regression

from vifx.training import csv_log, descend, fit, read_metrics, tensorboard_log, wandb_log


@functools.cache
def parts():
    objective = regression()
    return descend(objective, "model", optax.sgd(0.01)), objective, ToyResident(line_data(), 8, seed=3)


def run(steps, directory, **kwargs):
    """A row every 5 updates, a metric more every 10, a checkpoint every 20."""
    step, objective, source = parts()
    often = {"log_every": 5, "checkpoint_every": 20, "evaluate_every": 10}
    evaluate = {"evaluate": lambda train_state: {"validation/at": float(train_state.step)}}
    return fit(
        jax.random.key(1), step, objective, source, steps=steps, directory=directory, **often, **evaluate, **kwargs
    )


def stopped(steps, at, directory, observe):
    """Stop as by Ctrl-C twice, after a row of which there is no checkpoint."""

    def stop(event):
        if event.kind == "log" and event.step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(steps, directory, observe=[observe, stop])


def table(path):
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_a_csv_log_has_every_row_under_the_columns_of_all_also_of_a_resumed_run(tmp_path):
    whole = run(60, tmp_path / "whole", observe=csv_log(tmp_path / "whole" / "metrics.csv"))
    assert table(tmp_path / "whole" / "metrics.csv") == [dict(row) for row in whole.history]
    assert "validation/at" not in whole.history[0]
    path = tmp_path / "parts" / "metrics.csv"
    stopped(60, 35, tmp_path / "parts", csv_log(path))
    assert [row["step"] for row in table(path)] == [5, 10, 15, 20, 25, 30, 35]
    run(60, tmp_path / "parts", observe=csv_log(path))
    assert path.read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def events(folder):
    """Every event of the files of a folder: a record is its length, a checksum, the event and a checksum."""
    from tensorboardX.proto import event_pb2

    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            yield event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16


def shown(folder):
    """What TensorBoard shows: values by name and step, without those that a later start has purged."""
    found = {}
    for event in events(folder):
        if event.session_log.status == event.session_log.START:
            found = {place: value for place, value in found.items() if place[1] < event.step}
        found |= {(each.tag, event.step): each.simple_value for each in event.summary.value}
    return found


def test_tensorboard_shows_the_log_and_of_a_resumed_run_no_row_twice(tmp_path):
    folder = tmp_path / "parts" / "tensorboard"
    stopped(60, 35, tmp_path / "parts", tensorboard_log(folder))
    assert ("nll/y", 35) in shown(folder)
    longer = run(40, tmp_path / "parts", observe=tensorboard_log(folder))
    assert int(longer.train_state.step) == 40
    expected = {
        (name, int(row["step"])): value
        for row in read_metrics(tmp_path / "parts" / "metrics.jsonl")
        for name, value in row.items()
        if name != "step"
    }
    assert shown(folder) == pytest.approx(expected, rel=1e-6)  # they are kept in single precision
    began = [event.step for event in events(folder) if event.session_log.status == event.session_log.START]
    assert began == [21]
    later = tmp_path / "later"
    run(60, tmp_path / "parts", observe=tensorboard_log(later))  # a log that is begun in the middle of a run
    assert {step for _, step in shown(later)} == set(range(5, 65, 5))


def records(content):
    """The records of a LevelDB log: blocks of 32 KiB, in which a record has parts; wandb puts 7 bytes in front."""
    at, held = 7, b""
    while at < len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        held += content[at + 7 : at + 7 + length]
        if kind in (1, 4):  # whole, or its last part
            yield held
            held = b""
        at += 7 + length


@pytest.mark.thorough
def test_a_wandb_log_has_every_row_offline(tmp_path, monkeypatch):
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    directory = tmp_path / "run"
    fitted = run(20, directory, observe=wandb_log(directory, project="tests", config={"seed": 1}))
    (path,) = (directory / "wandb").glob("offline-run-*/run-*.wandb")
    rows, config = [], {}
    for record in map(Record.FromString, records(path.read_bytes())):
        config |= {item.key: item.value_json for item in record.run.config.update}
        if record.history.item:
            items = {"/".join(item.nested_key) or item.key: float(item.value_json) for item in record.history.item}
            rows.append({"step": record.history.step.num} | {k: v for k, v in items.items() if k[0] != "_"})
    assert rows == [pytest.approx(dict(row)) for row in fitted.history]
    assert config["seed"] == "1"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_of_progress_is_written_over_in_a_terminal_and_nowhere_else(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    run(10, None)
    assert pipe.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    run(10, None)
    lines = sys.stderr.getvalue().split("\r\x1b[K")
    assert [line.partition("  ")[0] for line in lines[1:3]] == ["5/10", "10/10"]
    assert lines[3].startswith("10 updates in 0:0")
    assert lines[3].endswith("\n")
    assert "nll/y" in lines[3]
    monkeypatch.setattr(sys, "stderr", Terminal())
    run(10, None, observe=None)
    assert sys.stderr.getvalue() == ""


def test_observers_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown observer 'bar'"):
        run(10, None, observe="bar")
    with pytest.raises(TypeError, match="observe must be a function"):
        run(10, None, observe=[print, 3])
    for make in (csv_log, tensorboard_log, wandb_log):
        with pytest.raises(TypeError, match=f"{make.__name__}: .* must be a path"):
            make(3)


def test_drawing_is_as_often_as_said_and_an_error_is_told(tmp_path):
    drawn, told = [], []
    run(25, None, draw=lambda train_state: drawn.append(int(train_state.step)), draw_every=10, observe=told.append)
    assert drawn == [10, 20, 25]
    assert [event.kind for event in told] == ["start", *["log"] * 4, "checkpoint", "log", "checkpoint", "end"]
    assert [row["step"] for row in told[-1].history] == [5, 10, 15, 20, 25]

    def failing(train_state):
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        run(25, None, draw=failing, draw_every=10, observe=told.append)
    assert (told[-1].kind, told[-1].step, told[-1].message) == ("error", 10, "no picture")


@pytest.mark.parametrize(("make", "module"), [(tensorboard_log, "tensorboardX"), (wandb_log, "wandb")])
def test_a_package_that_is_missing_is_one_sentence(make, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"^{make.__name__} needs {module}, which is not installed; pip install"):
        make(tmp_path)


NOTEBOOK = """
import jax, optax
from training.problems import ToyResident, line_data, regression
from vifx.training import descend, fit
objective = regression()
parts = descend(objective, "model", optax.sgd(0.01)), objective, ToyResident(line_data(), 8, seed=3)
fitted = fit(jax.random.key(1), *parts, steps=10, log_every=5)
"""


@pytest.mark.thorough
def test_a_notebook_has_one_line_that_changes(monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = (each for each in notebook.cells[0].outputs if each.output_type != "stream")  # what others warn of
    assert output.output_type == "display_data"
    assert output.data["text/plain"].startswith("10 updates in 0:0")
    assert "\n" not in output.data["text/plain"]
