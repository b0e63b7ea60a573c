"""Whatever goes wrong while the command runs is one line and exit code 1, and no part of a file is left."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from vifx import data
from vifx import files as whole_files


def edit(tiny: Path, *pairs: tuple[str, str]) -> None:
    text = tiny.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    tiny.write_text(text)


MONITOR = "        monitor=evaluation.monitor_loss(objective, splits.validation),\n"
DRAWING = "images.draw_samples(n=4)"


@pytest.mark.thorough
def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(copied, vifx_command, files, tmp_path, monkeypatch):
    copied("run")
    before = files(tmp_path)

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_files.os, "fsync", full)
    result = vifx_command("evaluate", "run")
    assert result.code == 1
    assert result.message == "run/results.json: No space left on device"
    assert vifx_command("sample", "run", "--n", "1").message.endswith(".png: No space left on device")
    assert files(tmp_path) == before


@pytest.mark.thorough
def test_what_cannot_be_written_after_training_says_how_to_go_on(tiny, vifx_command, tmp_path):
    edit(
        tiny,
        ("evaluate=evaluation.measure_bounds(inference, generative, splits.test, samples=(1, 4)),", "evaluate=block,"),
    )
    tiny.write_text(
        tiny.read_text()
        + "\n\ndef block(*_):\n    from pathlib import Path\n\n    Path('a run/results.json').mkdir()\n    return {}\n"
    )
    result = vifx_command("train", tiny, "--run", "a run", "--steps", "2")
    assert result.code == 1
    advice = "trained and saved; measure and draw with: vifx evaluate 'a run'"
    assert result.message == f"a run/results.json: Is a directory; {advice}"
    assert not list((tmp_path / "a run").rglob("*.partial"))


@pytest.mark.thorough
def test_an_error_of_the_experiment_while_it_trains_is_one_line_with_its_place(tiny, vifx_command):
    edit(tiny, (MONITOR, "        monitor=Monitor(),\n"), ('best="validation/loss",', ""))
    tiny.write_text(
        tiny.read_text() + "\n\nclass Monitor:\n    calls = 0\n\n    def __call__(self, *_):\n        self.calls += 1\n"
        "        return {} if self.calls < 2 else {}['loss']\n"
    )
    line = tiny.read_text().splitlines().index("        return {} if self.calls < 2 else {}['loss']") + 1
    result = vifx_command("train", tiny)
    assert result.code == 1
    assert result.message == f"KeyError: 'loss' (at {tiny}:{line})"
    shown = vifx_command("train", tiny, "--debug-checks")
    assert shown.code == 1
    assert shown.err.startswith("Traceback")
    assert shown.err.endswith("KeyError: 'loss'\n")


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["monitor", "drawing", "best"])
def test_monitor_and_drawings_are_tried_before_anything_is_written(where, tiny, vifx_command, files, tmp_path):
    change, message = {
        "monitor": ((MONITOR, "        monitor=lambda key, params, state: {}['loss'],\n"), "KeyError: 'loss' (at "),
        "drawing": ((DRAWING, "lambda key, params, state: params['no']"), "KeyError: 'no' (at "),
        "best": (('best="validation/loss"', 'best="validation/lss"'), "did you mean 'validation/loss'?"),
    }[where]
    edit(tiny, change)
    before = files(tmp_path)
    result = vifx_command("train", tiny)
    assert result.code == 2
    assert message in result.message
    assert result.out == ""
    assert files(tmp_path) == before


@pytest.mark.thorough
def test_without_a_validation_split_training_is_not_monitored(tiny, vifx_command, tmp_path):
    edit(tiny, ("validation=8", "validation=config.data.validation"))
    alarm = 'alarms=[training.Alarm("validation/loss", "above", 1.0, rows=1, meaning="far")],'
    edit(tiny, ('best="validation/loss",', f'best="validation/loss",\n        {alarm}'))
    result = vifx_command("train", tiny, "--data.validation", "0", "--run", "run", "--steps", "2")
    assert (result.code, result.err) == (0, "")
    assert "data digits: no validation split, so nothing is monitored" in result.out.splitlines()
    assert b"validation/" not in (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert vifx_command("evaluate", "run").code == 0


@pytest.mark.parametrize("code", ["0", "3", ""])
@pytest.mark.parametrize("where", ["import", "build", "monitor"])
def test_an_experiment_that_calls_exit_does_not_end_the_command(where, code, tiny, vifx_command, files, tmp_path):
    stop = f"raise SystemExit({code})"
    edit(tiny, *{
        "import": [("import numpy as np\n", f"import numpy as np\n{stop}\n")],
        "build": [('"""Build it."""', stop)],
        "monitor": [(MONITOR, "        monitor=stop,\n"), ("def build", f"def stop(*_):\n    {stop}\n\n\ndef build")],
    }[where])  # fmt: skip
    before = files(tmp_path)
    result = vifx_command("train", tiny)
    assert result.code == 2
    assert f"it calls sys.exit({code or None})" in result.message
    assert f"{tiny}:" in result.message
    assert files(tmp_path) == before


CONFIGS = {
    "not a dataclass": (("@dataclass(frozen=True)\n", ""), "Config is not a dataclass of its own"),
    "annotation": (
        ("latent: PositiveInt", "latent: PositveInt"),
        "the annotation of Config.latent, 'PositveInt', has no meaning (NameError: name 'PositveInt' is not defined)",
    ),
    "run": (("poison: bool = False", "poison: bool = False\n    run: int = 3"), "Config.run has the option --run"),
    "debug": (
        ("poison: bool = False", "poison: bool = False\n    debug_checks: bool = True"),
        "Config.debug_checks has the option --debug-checks of vifx train; rename the field",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_config_class(case, tiny, vifx_command, files, tmp_path):
    change, message = CONFIGS[case]
    edit(tiny, change)
    before = files(tmp_path)
    result = vifx_command("train", tiny)
    assert result.code == 2
    assert message in result.message
    assert files(tmp_path) == before


@pytest.mark.parametrize("config", ["null", "3", "[]", '"text"'])
def test_record_whose_config_is_no_object(config, tiny, vifx_command, tmp_path):
    (tmp_path / "run").mkdir()
    record = {"experiment": {"file": str(tiny), "sha256": ""}, "config": json.loads(config), "config_hash": ""}
    (tmp_path / "run" / "config.json").write_text(
        json.dumps(record | {"schedules_read_steps": False, "extensions": [], "stretches": []})
    )
    for command in ("resume", "evaluate", "sample"):
        result = vifx_command(command, "run")
        assert result.code == 2
        assert result.message.startswith("run/config.json: not the config of a run: its config must be an object")


@pytest.mark.first(1)
@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["train", "tiny.py"], ["train", "tiny.py", "--help"]])
@pytest.mark.parametrize("kind", ["full", "closed"])
def test_output_that_takes_nothing_is_one_line(kind, arguments, tiny, executable, files, tmp_path):
    before = files(tmp_path)
    redirection = {"full": ">/dev/full", "closed": ">&-"}[kind]
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *executable, *arguments], capture_output=True)
    assert done.returncode == 1
    reason = {"full": "No space left on device", "closed": "standard output is closed"}[kind]
    message = done.stderr.decode()
    assert message.startswith("stopped: ")
    assert reason in message
    assert message.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.thorough
def test_refused_extension_of_a_run_in_use_writes_nothing(copied, vifx_command, tmp_path):
    copied("run")
    run = tmp_path / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with (run / "checkpoints" / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = vifx_command("resume", "run", "--steps", "12")
    assert result.code == 1
    assert "another process is training in this directory" in result.message
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.thorough
def test_extension_that_cannot_restore_writes_nothing(copied, vifx_command, tmp_path):
    copied("run")
    record = tmp_path / "run" / "config.json"
    before = record.read_bytes()
    damaged = next(p for p in (tmp_path / "run" / "checkpoints" / "8" / "state").rglob("*") if p.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert vifx_command("resume", "run", "--steps", "12").code == 1
    assert record.read_bytes() == before


@pytest.mark.thorough
def test_extension_is_refused_if_another_process_extended_the_run_meanwhile(copied, tiny, vifx_command, tmp_path):
    copied("run")
    record = tmp_path / "run" / "config.json"
    other = record.read_text().replace('"steps": 8', '"steps": 10')
    edit(tiny, ('"""Build it."""', f"__import__('pathlib').Path({str(record)!r}).write_text({other!r})"))
    text = record.read_text()
    old = json.loads(text)["experiment"]["sha256"]
    record.write_text(text.replace(old, hashlib.sha256(tiny.read_bytes()).hexdigest()))
    result = vifx_command("resume", "run", "--steps", "12")
    assert result.code == 1
    assert result.message == "another process has gone on with this run in the meantime; resume it again"
    assert record.read_text() == other


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_half_a_shard_is_one_line(kept, vifx_command, tmp_path, monkeypatch, tiny):
    monkeypatch.setenv("VIFX_DATA", str(tmp_path / "data"))
    folder = data.prepare(data.Config("digits"))
    (shard,) = folder.glob("digits-train*")
    shard.write_bytes(shard.read_bytes()[: int(kept * shard.stat().st_size)])
    edit(tiny, ('"""Build it."""', "data.load(config.data)"))
    result = vifx_command("train", tiny)
    assert result.code == 2
    assert result.message.startswith(
        f"{folder}: expected a complete prepared dataset, found records that cannot be read"
    )
    assert "delete it and prepare it again" in result.message
