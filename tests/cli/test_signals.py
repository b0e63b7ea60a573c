"""A signal at any moment is answered in one line, and is never lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from cli.conftest import leaves

NUMBERS = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}
READY = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background or under nohup
signal.signal(signal.SIGHUP, signal.SIG_DFL)
class Ready:
    def find_spec(self, name, path=None, target=None):
        if name == "vifx.cli.command":  # the first import after the handlers are there
            print("ready", flush=True)
sys.meta_path.insert(0, Ready())
from vifx.cli import script
script()
"""
SCRIPT = "from vifx.cli import script\nscript()\n"


class Answered(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def interrupted(number, delay, *, second=None, other=None, after="ready", arguments=(), code=READY):
    """Send a signal some seconds after a line of output, perhaps a second one later, perhaps another."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    out = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not out.startswith(after) and f"\n{after}" not in out:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                out += line
            time.sleep(delay)
            process.send_signal(number)
            if second is not None:
                time.sleep(second)
                process.send_signal(number if other is None else other)
            rest, err = process.communicate(timeout=30)
        finally:
            process.kill()
    return Answered(process.returncode, out + rest, err)


def require_answer(found, number):
    """One line at most, and the exit code of the signal, unless all was done already."""
    assert "Traceback" not in found.err
    assert found.err.count("\n") <= 1, found.err
    over = "\nreport " in found.out
    assert found.code in ((0, 128 + number, -number) if over else (128 + number,)), found
    assert bool(found.err) or over, "nothing was said"


@pytest.mark.first(2)
@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_a_signal_while_libraries_are_imported_is_one_line(name, number, tiny):
    found = interrupted(number, 0.3, arguments=("train", tiny))
    assert found == (128 + number, "ready\n", "interrupted before training; nothing was saved\n")


def test_the_module_is_the_command(tiny):
    """`python -m vifx` takes the signals as early, and has the same words."""
    runs = "import runpy\nrunpy.run_module('vifx', run_name='__main__', alter_sys=True)\n"
    assert READY.endswith(SCRIPT)
    code = READY.removesuffix(SCRIPT) + runs
    found = interrupted(signal.SIGINT, 0.3, arguments=("train", tiny), code=code)
    assert found == (130, "ready\n", "interrupted before training; nothing was saved\n")
    done = subprocess.run([sys.executable, "-m", "vifx", "trian"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "error: unknown command 'trian'; did you mean 'train'? (see vifx --help)\n",
    )


@pytest.mark.first(1)
@pytest.mark.parametrize(("after", "second"), [("step", None), ("measuring", None), ("measuring", 0.05)])
def test_a_signal_in_a_run_is_one_line(after, second, tiny):
    arguments = ("train", tiny, "--steps", "2000" if after == "step" else "4", "--run", "run")
    found = interrupted(signal.SIGINT, 0.1, second=second, after=after, arguments=arguments)
    require_answer(found, signal.SIGINT)
    if after == "measuring":
        assert found.err == "interrupted; trained and saved; measure and draw with: vifx evaluate run\n"


@pytest.mark.thorough
def test_the_second_signal_in_training_ends_it_at_once(tiny):
    options = ("--steps", "100000", "--log-every", "100000", "--run", "run")
    found = interrupted(
        signal.SIGINT, 0.3, second=0.2, other=signal.SIGTERM, after="run directory", arguments=("train", tiny, *options)
    )
    assert (found.code, found.err) == (143, "interrupted at once; what was saved before is whole\n")


SWALLOWED = {
    "a bare except": """
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass
        while True:
            time.sleep(0.01)
    """,
    "an except in a loop": """
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass
    """,
    "a callback of the collector": """
        gc.callbacks.append(lambda *_: time.sleep(0.01))
        while True:
            gc.collect()
    """,
    "a destructor": """
        class Slow:
            def __del__(self):
                time.sleep(0.01)
        while True:
            Slow()
    """,
    "another error": """
        try:
            while True:
                time.sleep(0.01)
        except BaseException as error:
            raise SystemExit(0) from error
    """,
    "nothing, while a thread runs": """
        threading.Thread(target=time.sleep, args=(100,)).start()
        while True:
            time.sleep(0.01)
    """,
}
RUN = """
import gc, signal, sys, threading, time, types
from vifx.cli import Signals, signals, script
signal.signal(signal.SIGINT, signal.default_int_handler)
signals._PATIENCE = 0.5
def run(arguments, received):
    received.say("stopped here")
    print("ready", flush=True)
{body}
sys.modules["vifx.cli.command"] = types.SimpleNamespace(run=run)
script()
"""


@pytest.mark.thorough
@pytest.mark.parametrize("swallower", SWALLOWED)
@pytest.mark.parametrize("second", [None, 0.02])
def test_an_interruption_that_is_swallowed_ends_the_process_all_the_same(swallower, second):
    body = textwrap.indent(textwrap.dedent(SWALLOWED[swallower]), "    ")
    found = interrupted(signal.SIGINT, 0.05, second=second, code=RUN.format(body=body))
    assert found == (130, "ready\n", "stopped here\n")


def test_hangup_is_ignored_under_nohup():
    body = '    time.sleep(0.3)\n    print("done", flush=True)\n    return 0'
    code = RUN.format(body=body).replace("import gc", "import signal; signal.signal(1, signal.SIG_IGN)\nimport gc", 1)
    assert interrupted(signal.SIGHUP, 0.05, code=code) == (0, "ready\ndone\n", "")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_signals_at_sixty_random_moments(tiny, vifx_command, copied, capsys, tmp_path):
    """Over the start, training, saving, evaluation and drawing; what was saved resumes to the same run."""
    options = ("--steps", "400", "--checkpoint-every", "50", "--log-every", "10")
    copied("whole", *options)
    began = time.monotonic()
    whole = subprocess.run(
        [sys.executable, "-c", READY, "train", tiny, "--run", "timed", *options], capture_output=True
    )
    length = time.monotonic() - began
    assert whole.returncode == 0, whole.stderr
    rng, rows = random.Random(0), []
    for i in range(60):
        name, number = rng.choice(list(NUMBERS.items()))
        delay, second = rng.uniform(0, length), rng.choice((None, None, rng.uniform(0, 0.3)))
        found = interrupted(number, delay, second=second, arguments=("train", tiny, "--run", f"run{i}", *options))
        require_answer(found, number)
        rows.append((delay, name, second is not None, found.code, found.err.strip() or "done"))
        if "vifx resume" in found.err or "interrupted at once" in found.err:
            assert vifx_command("resume", f"run{i}").code == 0
            assert leaves(tmp_path / f"run{i}") == leaves(tmp_path / "whole")
        elif "trained and saved" in found.err:
            assert vifx_command("evaluate", f"run{i}").code == 0
            assert json.loads((tmp_path / f"run{i}" / "results.json").read_text())["step"] <= 400
        elif found.err:
            assert not list(Path(f"run{i}").glob("checkpoints/*"))
    with capsys.disabled():
        print()
        for delay, name, double, code, err in sorted(rows):
            print(f"{delay:5.2f} s  {name:8}{'twice' if double else '':6} {code:4}  {err}")
