"""The command on several processes: one writer, one line for what is wrong, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from vifx.training.checkpoint import Checkpoints
def save(self, step, *args, honest=Checkpoints.save):
    if step >= 8 and sys.argv[-1].endswith(",0"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, -1))
    return honest(self, step, *args)
Checkpoints.save = save
"""
SCRIPT = "from vifx.cli import script\nscript()\n"
DATALESS = """
import sys
if sys.argv[-1].endswith(",1"):
    from vifx import data
    def absent(*args, **kwargs):
        raise FileNotFoundError("the images are not on this host")
    data.from_arrays = absent
"""


def pair(tiny, *options, first=(), second=(), before=""):
    """Two processes of one command."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-c", before + SCRIPT, "train", tiny, *options]
    return [
        subprocess.Popen(
            [*command, *own, "--distributed", f"{address},2,{index}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for index, own in enumerate((first, second))
    ]


def ended(running):
    """The exit codes of processes and what they printed, but for the runtime's own remarks."""
    try:
        said = [process.communicate(timeout=120) for process in running]
    finally:
        for process in running:
            process.kill()
    out = ["\n".join(line for line in text.splitlines() if "[Gloo]" not in line) for text, _ in said]
    return [process.returncode for process in running], out, [text for _, text in said]


@pytest.mark.thorough
def test_process_0_alone_writes_and_prints(tiny, tmp_path):
    """And a signal to the other one stops both, saved, at the same update."""
    run = tmp_path / "run"
    running = pair(tiny, "--run", str(run), "--steps", "20000", "--checkpoint-every", "10")
    until = time.monotonic() + 60
    while not (run / "checkpoints" / "20").is_dir() and time.monotonic() < until:
        time.sleep(0.05)
    running[1].send_signal(signal.SIGTERM)
    codes, out, err = ended(running)
    assert codes == [128 + signal.SIGTERM] * 2, err
    assert "2 devices" in out[0]
    assert "mesh data=2" in out[0]
    assert out[1] == ""
    last = max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdecimal())
    assert f"interrupted: saved after update {last:,}; continue with: vifx resume {run}" in err[0]
    assert err[1] == ""
    record = json.loads((run / "config.json").read_text())
    assert record["stretches"] == [{"at": 0, "processes": 2, "devices": "2 × cpu (cpu)", "mesh": "data=2"}]


@pytest.mark.thorough
def test_different_options_are_named_before_anything_is_written(tiny, tmp_path):
    running = pair(tiny, "--run", str(tmp_path / "run"), second=["--latent", "3"])
    codes, _, err = ended(running)
    assert codes == [1, 1]
    for text in err:
        assert (
            "stopped: --latent is 2 in process 0 and 3 in process 1; start all with the same options and code" in text
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_a_host_without_the_data_ends_all(tiny, tmp_path):
    codes, _, err = ended(pair(tiny, "--run", str(tmp_path / "run"), before=DATALESS))
    assert codes == [1, 2]
    assert "the images are not on this host" in err[1]
    assert "stopped: process 1 of 2 (" in err[0]
    assert "has stopped: the images are not on this host" in err[0]


@pytest.mark.thorough
def test_a_full_disk_of_the_writer_ends_all_and_loses_nothing(tiny, tmp_path):
    run = tmp_path / "run"
    codes, _, err = ended(pair(tiny, "--run", str(run), "--steps", "40", before=LIMITED))
    assert codes == [1, 1]
    assert "cannot be written" in err[0]
    assert "Checkpoints that are whole: [4]" in err[0]
    assert "stopped: process 0 of 2 (" in err[1]
    assert "cannot be written" in err[1]
    assert (run / "checkpoints" / "4").is_dir()
