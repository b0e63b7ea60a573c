"""Several processes make the run of one: on loopback, with real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("hosts_program.py")
TOLERANCE = {"stepwise": 1e-10, "starts": 1e-10}


def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def started(arguments, *, devices=1, program=PROGRAM):
    """A process of the program, in double precision."""
    paths = [str(PROGRAM.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, str(program), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def together(count, *arguments, devices=1):
    """The processes of one run, and what each printed."""
    address = f"localhost:{port()}"
    running = [started([f"{address},{count},{index}", *arguments], devices=devices) for index in range(count)]
    try:
        return [process.communicate(timeout=300) for process in running], [p.returncode for p in running]
    finally:
        for process in running:
            process.kill()


def results(out):
    return {
        result["problem"]: result for line in out.splitlines() if line.startswith("{") for result in [json.loads(line)]
    }


def agree(found, expected, tolerance):
    """Two runs have the same rows and the same parameters, relative to the size of each."""
    assert [row["step"] for row in found["rows"]] == [row["step"] for row in expected["rows"]]
    for row, same in zip(found["rows"], expected["rows"], strict=True):
        assert row.keys() == same.keys()
        for name, value in same.items():
            assert abs(row[name] - value) <= tolerance * max(abs(value), 0.1), (row["step"], name, row[name], value)
    for path, value in expected["params"].items():
        value = np.asarray(value)
        np.testing.assert_allclose(
            found["params"][path], value, rtol=0, atol=tolerance * max(1e-3, np.abs(value).max())
        )


@pytest.fixture(scope="module")
def alone():
    """Each problem trained by one process on one device."""
    process = started(["off", "-", "vae", "gan", "flow", "stepwise", "starts"])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return results(out)


@pytest.mark.thorough
@pytest.mark.parametrize(("count", "devices"), [(2, 1), (4, 1)])
def test_two_hundred_updates_are_those_of_one_process(count, devices, alone, tmp_path):
    """VAE, GAN with critic turns and spectral vectors, flow and EM; from a stream, and with divided parameters."""
    problems = ["vae", "streamed", "divided", *([] if count == 4 else ["gan", "flow", "stepwise"]), "starts"]
    said, codes = together(count, tmp_path, *problems, devices=devices)
    assert codes == [0] * count, [err for _, err in said]
    found = results(said[0][0])
    assert list(found) == problems
    assert all(not results(out) for out, _ in said[1:])
    for problem, result in found.items():
        same = alone["vae" if problem in ("streamed", "divided") else problem]
        agree(result, same, TOLERANCE.get(problem, 1e-6))
        assert (tmp_path / problem / "checkpoints" / "200" / "sha256").is_file()


GREETING = """
import sys
from vifx.training import hosts
mine = hosts.start(distributed=sys.argv[1])
import jax
print(mine.count, mine.index, jax.device_count(), jax.local_device_count())
print(hosts.gathered(f"process {mine.index}", "greeting"))
print(hosts.broadcast(lambda: {"chosen by": mine.index, "third": 1 / 3}, "a choice"))
try:
    hosts.require_same({"seed": "0", "latent": str(8 * (1 + mine.index))}, "the start", fix="give the same")
except hosts.HostsError as error:
    print(error)
"""
ALONE = """
import sys
from vifx.training import hosts
hosts.start(distributed=sys.argv[1])
"""
LOST = """
import os, signal, sys, time
from vifx.training import hosts
mine = hosts.start(distributed=sys.argv[1])
hosts.gathered("", "meeting")
if mine.index == int(sys.argv[2]):
    sys.stdout.write("gone"); sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[3] == "killed" else sys.exit(hosts.leave("the disk is full"))
hosts.gathered("", "a meeting to which one does not come")
"""


@pytest.fixture
def program(tmp_path):
    def write(text):
        path = tmp_path / "program.py"
        path.write_text(text)
        return path

    return write


def pair(program, *arguments, count=2):
    """Processes of a program that is given where to meet."""
    address = f"localhost:{port()}"
    return [started([f"{address},{count},{index}", *arguments], program=program) for index in range(count)]


def test_processes_meet_and_agree(program):
    said = [process.communicate(timeout=100) for process in pair(program(GREETING), "")]
    for index, (out, err) in enumerate(said):
        assert out.splitlines() == [
            f"2 {index} 2 1",
            "['process 0', 'process 1']",
            "{'chosen by': 0, 'third': 0.3333333333333333}",
            "latent is 8 in process 0 and 16 in process 1; give the same",
        ], err


@pytest.mark.thorough
def test_nobody_there_is_said_within_the_time(program):
    address, begin = f"localhost:{port()}", time.monotonic()
    _, err = started([f"{address},2,1"], program=program(ALONE)).communicate(timeout=60)
    assert 10 <= time.monotonic() - begin < 25
    assert err.splitlines()[-1].endswith(
        f"HostsError: process 1 of 2: nothing answers at {address} within 10 s; start process 0 there, or correct the "
        "address"
    )


@pytest.mark.thorough
def test_two_processes_with_one_number_are_refused(program):
    address = f"localhost:{port()}"
    running = [started([f"{address},2,{index}"], program=program(ALONE)) for index in (0, 0)]
    codes = [process.wait(timeout=100) for process in running]
    messages = [process.communicate()[1] for process in running]
    assert codes == [1, 1]
    assert any("is in use" in text or "each with a number of its own, 0 to 1" in text for text in messages), messages


@pytest.mark.thorough
@pytest.mark.parametrize(("lost", "how"), [(2, "killed"), (0, "killed"), (1, "left")])
def test_a_lost_process_ends_the_others_with_one_line(program, lost, how):
    running = pair(program(LOST), lost, how, count=3)
    running[lost].communicate(timeout=60)
    assert running[lost].returncode != 0 or how == "left"
    begin = time.monotonic()
    for index in {0, 1, 2} - {lost}:
        _, err = running[index].communicate(timeout=60)
        assert running[index].returncode == 1, err
        (line,) = [line for line in err.splitlines() if line.startswith("stopped: ")]
        who = f"stopped: process {lost} of 3 ({socket.gethostname()}, pid {running[lost].pid}) "
        what = "is gone: it gave no sign of life for 12 s" if how == "killed" else "has stopped: the disk is full"
        assert line == f"{who}{what}; what was saved before is whole, and the run can be resumed"
    assert time.monotonic() - begin < 30
