"""Worker processes: they read what threads read, say what goes wrong, and end with whoever started them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data.readable import Refused, Slow, Unreadable

from vifx.data import Streaming, epoch_order

ORDER = np.asarray(epoch_order(7, 0, size=40))


def minibatches(source, count, *, workers=2, first=0):
    found = Streaming(source, 4, 7, prefetch=2, workers=workers).batches(first)
    try:
        yield from itertools.islice(found, count)
    finally:
        found.close()


def gone(process):
    """Whether a process has ended; one that is not waited for by whoever inherited it counts too."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def all_gone(processes, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(map(gone, processes)):
        time.sleep(0.05)
    return all(map(gone, processes))


def test_processes_read_the_minibatches_and_say_which_one_is_broken():
    at = int(ORDER[4 * 6 + 1])  # in minibatch 6
    found, iterator = [], minibatches(Slow(40, broken={at: (OSError, f"example {at} is damaged")}, seconds=0.01), 10)
    with pytest.raises(OSError, match=f"example {at} is damaged") as caught:
        found.extend(iterator)
    np.testing.assert_array_equal([batch["x"][:, 0] for batch in found], ORDER[:24].reshape(6, 4))
    readers = {int(process) for batch in found[1:] for process in batch["process"]}
    assert len(readers) == 2
    assert os.getpid() not in readers
    place, number = caught.value.__notes__
    assert place.startswith("in a worker process:\nTraceback")
    assert number == "while reading minibatch 6"
    assert all_gone(readers)


@pytest.mark.thorough
def test_what_an_error_says_comes_through_whatever_its_class():
    at = int(ORDER[9])
    with pytest.raises(RuntimeError, match=f"Refused: example {at} is blank") as caught:
        list(minibatches(Slow(40, broken={at: (Refused, at, "blank")}), 10))
    assert caught.value.__notes__[1] == "while reading minibatch 2"


@pytest.mark.thorough
def test_a_process_that_ends_by_itself():
    with pytest.raises(RuntimeError, match="ended by itself, with exit code 3") as caught:
        list(minibatches(Slow(40, fatal=[int(ORDER[13])]), 10))
    assert caught.value.__notes__ == ["while reading minibatch 3"]


@pytest.mark.thorough
def test_a_source_that_cannot_be_loaded():
    with pytest.raises(TypeError, match="can load, but: ModuleNotFoundError: No module named 'mine'; define its class"):
        list(minibatches(Unreadable(), 4))


def test_sources_that_are_not_for_processes():
    class Local(Slow):
        pass

    with pytest.raises(TypeError, match=r"can be pickled, since worker processes read it, but: .*Local"):
        list(minibatches(Local(40), 2))
    with pytest.raises(ValueError, match="workers must be 0 for arrays, which threads read as fast, got 2"):
        Streaming({"x": np.zeros(3)}, 1, 0, workers=2)
    with pytest.raises(ValueError, match="workers must be an integer ≥ 0, got -1"):
        Streaming(Slow(3), 1, 0, workers=-1)


PROGRAM = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from data.readable import Slow
from vifx.data import Streaming

if __name__ == "__main__":
    noted = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: noted.append(number))
    batches = Streaming(Slow(10**6, seconds=0.005), 4, 0, workers=2).batches(0)
    first = next(batches)
    processes = set()
    while len(processes) < 2:
        processes |= set(next(batches)["process"].tolist())
    print(*processes, flush=True)
    while not noted:
        next(batches)
    for _ in range(30):  # whoever was signalled saves before it ends
        assert set(next(batches)["process"].tolist()) <= processes
    print("went on", flush=True)
    if sys.argv[2] == "close":
        batches.close()
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "end"),
    [(signal.SIGINT, "close"), (signal.SIGTERM, "leave"), (signal.SIGHUP, "close"), (signal.SIGKILL, "")],
)
def test_processes_end_with_the_one_that_trains_and_hear_no_signal_before(tmp_path, number, end):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    arguments = [sys.executable, str(script), str(Path(__file__).parents[1]), end]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as training:
        processes = [int(word) for word in training.stdout.readline().split()]
        assert len(processes) == 2
        assert not any(map(gone, processes))
        if number == signal.SIGKILL:
            training.kill()
        else:
            os.killpg(training.pid, number)  # as a terminal or a launcher does: to all of them
        said, complaints = training.communicate(timeout=60)
    assert said == ("" if number == signal.SIGKILL else "went on\n")
    assert complaints == ""
    assert training.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert all_gone(processes)


@pytest.mark.thorough
def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parents[1]), "close"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'must begin to train under `if __name__ == "__main__":`' in done.stderr
