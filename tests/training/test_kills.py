"""A run that is killed at any moment, as often as you like, ends as the run that was never stopped."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from training.kill_program import KINDS, LOG_EVERY, STEPS


@pytest.fixture(scope="module")
def attempt(tmp_path_factory):
    """Give the program an order: ``attempt(kind, directory, moment) -> its answer``."""
    where = tmp_path_factory.mktemp("kills")
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(Path(__file__).with_name("kill_program.py")), str(where / "cache")]
    with (
        (where / "errors").open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as program,
    ):

        def order(kind, directory, moment=None):
            print(json.dumps({"kind": kind, "directory": str(directory), "moment": moment}), file=program.stdin)
            program.stdin.flush()
            answer = json.loads(program.stdout.readline() or "{}")
            assert answer.get("code") in (0, -signal.SIGKILL), (where / "errors").read_text()
            return answer

        assert program.stdout.readline() == "ready\n", (where / "errors").read_text()
        yield order
        program.stdin.close()


@pytest.fixture(scope="module")
def whole(attempt, tmp_path_factory):
    """The run that was never stopped, of each kind."""
    found = {}

    def run(kind):
        if kind not in found:
            directory = tmp_path_factory.mktemp(kind) / "whole"
            found[kind] = (attempt(kind, directory), (directory / "metrics.jsonl").read_bytes())
        return found[kind]

    return run


def moments(seed):
    """Moments to kill at: a quarter of them during a save, the others behind a row."""
    draw = random.Random(seed)
    for i in range(1_000_000):
        if i % 4 == 0:
            yield {"after": "saves", "count": draw.choice([1, 1, 2]), "seconds": draw.uniform(0, 0.03)}
        else:
            yield {"after": "rows", "count": draw.randint(1, 5), "seconds": draw.uniform(0, 0.02)}


def require_no_difference(answer, log, whole):
    expected, rows = whole
    assert expected["rows"] == STEPS // LOG_EVERY
    assert answer["trained"] == answer["restored"] == expected["trained"] == expected["restored"]
    assert log == rows


def kill_and_compare(attempt, whole, kind, kills, directory, seed):
    """Kill runs until there were so many kills, at most 6 a run; each must end as the whole one does."""
    expected = whole(kind)  # first, since it writes the compiled programs that the others read
    left, runs, half, moment = kills, 0, 0, moments(seed)
    while left:
        runs += 1
        where = directory / f"{kind}{runs}"
        for _ in range(min(left, 6)):
            answer = attempt(kind, where, next(moment))
            if answer["code"] == 0:
                break
            left -= 1
            half += any(not name.isdecimal() for name in answer["left"])
        answer = attempt(kind, where)
        require_no_difference(answer, (where / "metrics.jsonl").read_bytes(), expected)
        assert str(STEPS) in answer["left"], "the last checkpoint is there"
        assert all(name.isdecimal() for name in answer["left"]), "nothing half-written is left"
    return half


def test_a_killed_run_ends_as_the_whole_one(attempt, whole, tmp_path):
    kill_and_compare(attempt, whole, "vae", 4, tmp_path, seed=0)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "kills"), [("vae", 6), *((kind, 10) for kind in KINDS[1:])])
def test_killed_runs_of_every_kind_end_as_the_whole_ones(attempt, whole, kind, kills, tmp_path):
    kill_and_compare(attempt, whole, kind, kills, tmp_path, seed=KINDS.index(kind) + 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_kills_of_each_kind(attempt, whole, kind, tmp_path):
    half = kill_and_compare(attempt, whole, kind, 100, tmp_path, seed=100 + KINDS.index(kind))
    assert half >= 5, "some were killed in the middle of a save"
