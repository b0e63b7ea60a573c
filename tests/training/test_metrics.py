"""The log of metrics: what is written is read, and a resumed log is the uninterrupted one."""

from __future__ import annotations

import json
import math

import pytest

from vifx.training import read_metrics
from vifx.training.metrics import MetricsLog


def write(path, rows, step=0):
    with MetricsLog(path, step=step) as log:
        for row in rows:
            log.append(row)
        log.sync()
        return list(log.rows)


def test_numbers_come_back_exactly_also_those_that_are_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    row = {"step": 3, "a": 1 / 3, "n": 7, "nan": float("nan"), "up": float("inf"), "down": float("-inf")}
    write(path, [row])
    (back,) = read_metrics(path)
    assert math.isnan(back.pop("nan"))
    assert back == {k: v for k, v in row.items() if k != "nan"}
    strict = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict["up"] == "inf"


def test_a_resumed_log_is_byte_for_byte_the_uninterrupted_one(tmp_path):
    rows = [{"step": t, "loss": 1 / t} for t in range(10, 60, 10)]
    write(tmp_path / "whole", rows)
    path = tmp_path / "cut"
    write(path, rows[:4])
    with path.open("ab") as file:
        file.write(b'{"step": 50, "lo')  # killed while writing
    assert [row["step"] for row in read_metrics(path)] == [10, 20, 30, 40]
    assert write(path, rows[2:], step=20) == rows
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_run_without_a_checkpoint_starts_its_log_anew(tmp_path):
    path = tmp_path / "log"
    write(path, [{"step": 5}])
    assert write(path, [{"step": 7}]) == [{"step": 7}]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"step": 1}\n{"stop": 2}\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"log, line 2: not a row of metrics .*delete the line"):
        read_metrics(path)
    path.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1"):
        read_metrics(path)
