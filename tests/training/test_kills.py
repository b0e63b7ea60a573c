"""A run that is killed at any moment, as often as you like, ends as the run that was never stopped."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from training.kill_program import CHECKPOINT_EVERY, KINDS, LOG_EVERY, STEPS

from vifx.training import read_metrics


@pytest.fixture(scope="module")
def attempt(tmp_path_factory):
    """Give the program an order: ``attempt(kind, directory, moment) -> its answer``."""
    where = tmp_path_factory.mktemp("kills")
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    (where / "cache").mkdir()
    environment = {
        **os.environ,
        "XLA_FLAGS": flags,
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_COMPILATION_CACHE_DIR": str(where / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, str(Path(__file__).with_name("kill_program.py"))]
    with (
        (where / "errors").open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as program,
    ):

        def order(kind, directory, moment=None, **processes):
            given = {"kind": kind, "directory": str(directory), "moment": moment, **processes}
            print(json.dumps(given), file=program.stdin, flush=True)
            return json.loads(program.stdout.readline())

        assert program.stdout.readline() == "ready\n", (where / "errors").read_text()
        yield order
        program.stdin.close()


class Whole(NamedTuple):
    """A run that was never stopped."""

    answer: Any
    directory: Path


@pytest.fixture(scope="module")
def whole(attempt, tmp_path_factory):
    """The run that was never stopped: ``whole(kind, steps)``, which makes it once."""

    @cache
    def run(kind, steps=STEPS):
        directory = tmp_path_factory.mktemp(kind) / "whole"
        answer = attempt(kind, directory, steps=steps)
        assert answer["codes"] == [0], answer["said"]
        assert answer["rows"] == steps // LOG_EVERY
        return Whole(answer, directory)

    return run


def moments(seed):
    """Moments to kill at: a quarter of them during a save, the others behind a row."""
    draw = random.Random(seed)
    for i in range(1_000_000):
        if i % 4 == 0:
            yield {"after": "saves", "count": draw.choice([1, 1, 2]), "seconds": draw.uniform(0, 0.03)}
        else:
            yield {"after": "rows", "count": draw.randint(1, 5), "seconds": draw.uniform(0, 0.02)}


def checkpoints(answer):
    """The checkpoints that are whole."""
    return sorted(int(name) for name in answer["left"] if name.isdecimal())


def log(directory):
    return (directory / "metrics.jsonl").read_bytes()


def kill_and_compare(attempt, whole, kind, kills, directory, seed):
    """Kill runs until there were so many kills, at most 6 a run; each must end as the whole one does."""
    expected = whole(kind)  # first, since it writes the compiled programs that the others read
    left, runs, half, moment = kills, 0, 0, moments(seed)
    while left:
        runs += 1
        where = directory / f"{kind}{runs}"
        for _ in range(min(left, 6)):
            answer = attempt(kind, where, next(moment))
            if answer["codes"] == [0]:
                break
            assert answer["codes"] == [-signal.SIGKILL], answer["said"]
            left -= 1
            half += len(checkpoints(answer)) < len(answer["left"])
        answer = attempt(kind, where)
        assert answer["codes"] == [0], answer["said"]
        assert answer["trained"] == answer["restored"] == expected.answer["trained"] == expected.answer["restored"]
        assert log(where) == log(expected.directory)
        assert checkpoints(answer)[-1] == STEPS, "the last checkpoint is there"
        assert len(checkpoints(answer)) == len(answer["left"]), "nothing half-written is left"
    return half


def test_a_killed_run_ends_as_the_whole_one(attempt, whole, tmp_path):
    kill_and_compare(attempt, whole, "vae", 4, tmp_path, seed=0)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "kills"), [("vae", 6), *((kind, 10) for kind in KINDS[1:])])
def test_killed_runs_of_every_kind_end_as_the_whole_ones(attempt, whole, kind, kills, tmp_path):
    kill_and_compare(attempt, whole, kind, kills, tmp_path, seed=KINDS.index(kind) + 1)


# several processes


def require_same_losses(directory, expected):
    """Every row: a function of the parameters, the minibatches and the keys, up to the order of sums."""
    rows = zip(read_metrics(directory / "metrics.jsonl"), read_metrics(expected / "metrics.jsonl"), strict=True)
    for found, row in rows:
        assert found.keys() == row.keys()
        for name, value in row.items():
            loss = name.startswith(("loss/", "nll/", "kl/")) or name in ("objective", "log_prob")
            close = pytest.approx(value, rel=1e-6) if loss else pytest.approx(value, rel=1e-4, abs=1e-6)
            assert found[name] == close, (row["step"], name)


def lose_one_and_resume(attempt, whole, kind, where, moment, *, resumed, steps=STEPS, **hosts):
    """One of several processes is killed, the others end by themselves, and the run goes on on other devices."""
    answer = attempt(kind, where, moment, steps=steps, **hosts)
    victim, codes = hosts["victim"], answer["codes"]
    assert codes.pop(victim) == -signal.SIGKILL, answer["said"]
    assert answer["seconds"] < 30
    for code, said in zip(codes, (text for i, text in enumerate(answer["said"]) if i != victim), strict=True):
        # Gloo, which carries sums between CPUs alone, may abort a process whose neighbours disagree on who is there.
        aborted = code == -signal.SIGABRT and "gloo::EnforceNotMet" in said
        named = code == 1 and f"stopped: process {victim} of {hosts['processes']} (" in said
        assert named or aborted, said
    *_, last = (0, *checkpoints(answer))
    logged = [row["step"] for row in read_metrics(where / "metrics.jsonl")][-1]
    assert last >= (logged - LOG_EVERY) // CHECKPOINT_EVERY * CHECKPOINT_EVERY, answer  # by the end of the next chunk
    answer = attempt(kind, where, steps=steps, devices=resumed)
    assert answer["codes"] == [0], answer["said"]
    assert answer["begun"] == last, "no checkpoint is lost"
    assert answer["trained"] == answer["restored"]
    assert checkpoints(answer)[-1] == steps
    require_same_losses(where, whole(kind, steps).directory)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "victim", "resumed"), [("vae", 1, 4), ("gan", 0, 1), ("stepwise", 1, 2)])
def test_a_lost_process_ends_the_others_and_the_run_goes_on(attempt, whole, kind, victim, resumed, tmp_path):
    moment = {"after": "rows", "count": 5, "seconds": 0.01 * victim}
    hosts = {"processes": 2, "devices": 2, "victim": victim}
    lose_one_and_resume(attempt, whole, kind, tmp_path / kind, moment, resumed=resumed, **hosts)


@pytest.mark.thorough
def test_a_process_that_is_done_waits_for_the_others(attempt, whole, tmp_path):
    """Process 1 leaves two seconds later, and still finds what the two meet by."""
    answer = attempt("vae", tmp_path / "vae", processes=2, late=2.0)
    assert answer["codes"] == [0, 0], answer["said"]
    assert answer["trained"] == answer["restored"]
    require_same_losses(tmp_path / "vae", whole("vae").directory)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_kills_of_each_kind(attempt, whole, kind, tmp_path):
    half = kill_and_compare(attempt, whole, kind, 100, tmp_path, seed=100 + KINDS.index(kind))
    assert half >= 5, "some were killed in the middle of a save"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_one_of_four_processes_is_lost_at_twenty_moments(attempt, whole, kind, tmp_path):
    draw, moment = random.Random(KINDS.index(kind)), moments(KINDS.index(kind))
    # The rounding of single precision grows in EM from random starts: to 2e-6 of the likelihood in 130 updates.
    steps = STEPS if kind == "starts" else 200
    for i in range(20):
        at = {**next(moment), "count": draw.randint(1, steps // LOG_EVERY // 5)}
        resumed, hosts = draw.choice([1, 2, 4, 8]), {"processes": 4, "devices": 1, "victim": draw.randrange(4)}
        lose_one_and_resume(attempt, whole, kind, tmp_path / f"{kind}{i}", at, resumed=resumed, steps=steps, **hosts)
