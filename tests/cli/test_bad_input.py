"""Every mistake: exit code 2, one line that names it and the remedy, no traceback, nothing written."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr

import numpy as np
import pytest

from vifx import experiment
from vifx.cli import runs
from vifx.cli.console import boxed
from vifx.experiment import run as run_module

OPTIONS = {
    "mistyped option": (["--latnet", "3"], ["unknown option '--latnet'", "did you mean '--latent'"]),
    "mistyped option with =": (["--latnet=3"], ["unknown option '--latnet'", "did you mean '--latent'"]),
    "option of the data": (["--batch-size", "8"], ["did you mean '--data.batch-size'"]),
    "stray word": (["twelve"], ["unexpected argument 'twelve'"]),
    "word for integer": (["--latent", "x"], ["--latent", "expected an integer", "'x'"]),
    "real for integer": (["--latent", "1.5"], ["--latent", "expected an integer", "'1.5'"]),
    "word for real": (["--learning-rate", "fast"], ["--learning-rate", "expected a number", "'fast'"]),
    "no value": (["--latent"], ["--latent needs a value"]),
    "rate nan": (["--learning-rate", "nan"], ["--learning-rate must be finite", "nan"]),
    "rate inf": (["--learning-rate", "inf"], ["--learning-rate must be finite", "inf"]),
    "rate negative": (["--learning-rate", "-0.1"], ["--learning-rate must be a positive finite number", "-0.1"]),
    "rate zero": (["--learning-rate", "0"], ["--learning-rate must be a positive finite number", "0.0"]),
    "rate below float32": (["--learning-rate", "1e-46"], ["--learning-rate must be", "1e-46, which is 0 there"]),
    "rate above float32": (["--learning-rate", "1e39"], ["--learning-rate must be", "1e+39, which is infinite there"]),
    "empty source": (["--data.source="], ["--data.source must not be empty"]),
    "validation of all": (["--data.validation", "1.5"], ["--data.validation as a fraction must be", "1.5"]),
    "features": (["--data.features", "y=label"], ["--data.features must be variables", "'y=label'"]),
    "zero latent": (["--latent", "0"], ["--latent must be a positive integer", "0"]),
    "zero in a tuple": (["--hidden", "3", "0"], ["--hidden[1] must be a positive integer"]),
    "negative steps": (["--steps", "-5"], ["--steps must be a positive integer", "-5"]),
    "negative seed": (["--seed", "-1"], ["--seed must be", "-1"]),
    "choice": (["--flavour", "chocolat"], ["vanilla, chocolate", "did you mean 'chocolate'"]),
    "huge batch": (["--data.batch-size", "1000"], ["--data.batch-size must not exceed the 32 examples", "1000"]),
    "zero batch": (
        ["--data.batch-size", "0"],
        ["--data.batch-size must be an integer from 1 to 4294967295, got 0 (see"],
    ),
    "NaN pixels": (["--poison"], ["must be finite"]),
    "too many devices": (
        ["--mesh", "data=1000"],
        [
            "--mesh must make up at most the 8 devices",
            "1000 (virtual CPU devices: XLA_FLAGS=--xla_force_host_platform_device_count=1000)",
        ],
    ),
    "devices that do not divide": (["--mesh", "data=3"], ["16 examples of 'x' do not divide over the 3 devices"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_option(case, tiny, vifx_command, files, tmp_path):
    options, expected = OPTIONS[case]
    before = files(tmp_path)
    result = vifx_command("train", tiny, *options)
    assert result.code == 2
    for text in expected:
        assert text in result.message
    assert "Traceback" not in result.err
    assert result.out == ""
    assert files(tmp_path) == before


COMMANDS = {
    "unknown command": (["trian"], "did you mean 'train'"),
    "no file": (["train"], "needs an experiment file"),
    "options without a file": (["train", "--latent", "3", "tinny.py"], "needs an experiment file"),
    "missing file": (["train", "tinny.py"], "did you mean 'tiny.py'"),
    "explain missing file": (["explain", "nowhere/at_all.py"], "does not exist"),
    "compile missing file": (["compile", "tinny.py"], "did you mean 'tiny.py'"),
    "resume nothing": (["resume", "nowhere"], "is not a run directory"),
    "evaluate nothing": (["evaluate", "."], "is not a run directory"),
    "sample nothing": (["sample", "nowhere"], "is not a run directory"),
    "resume without a run": (["resume"], "RUN"),
    "export nothing": (["export", "nowhere"], "is not a run directory"),
    "certify nothing": (["certify", "nowhere"], "is not a run directory"),
    "certify zero": (["certify", "nowhere", "--temperatures", "0"], "--temperatures must be a positive integer"),
    "certify noise": (["certify", "nowhere", "--noise", "0"], "--noise must be"),
    "certify sure": (["certify", "nowhere", "--confidence", "1"], "--confidence must be a number in (0, 1)"),
    "sample zero": (["sample", "nowhere", "--n", "0"], "--n must be a positive integer"),
    "sample cold": (["sample", "nowhere", "--temperature", "nan"], "--temperature must be finite"),
    "sample word": (["sample", "nowhere", "--temprature", "1"], "did you mean '--temperature'"),
    "answer nothing": (["answer", "nowhere", "--question", "Who?", "--passages", "tiny.py"], "is not a run directory"),
    "answer no question": (["answer", "run", "--question", " ", "--passages", "tiny.py"], "--question must be a quest"),
    "answer no passages": (["answer", "run", "--question", "Who?", "--passages"], "--passages must be at least one"),
    "answer missing passage": (
        ["answer", "run", "--question", "Who?", "--passages", "tiny.py", "none.txt"],
        "--passages must be text files, one a passage: none.txt (No such file or directory)",
    ),
    "answer a folder": (
        ["answer", "run", "--question", "Who?", "--passages", "."],
        "one a passage: . (Is a directory)",
    ),
    "data without verb": (["data"], "vifx data prepare NAME"),
    "data verb": (["data", "prepair", "digits"], "did you mean 'prepare'"),
    "data name": (["data", "prepare", "digts"], "NAME must be a known dataset, got 'digts'; did you mean 'digits'"),
    "data no name": (["data", "prepare", "a b"], "NAME must be a dataset such as"),
    "data offline": (["data", "prepare", "cifar10"], "--allow-download"),
    "data source": (["data", "prepare", "fashion_mnist", "--source", "no"], "--source must be the folder of the four"),
    "data without source": (["data", "prepare", "fashion_mnist"], "--source must be the folder of the four"),
    "data empty source": (["data", "prepare", "fashion_mnist", "--source="], "--source must not be empty"),
    "data with a source": (["data", "prepare", "digits", "--source", "no"], "--source must be left out for digits"),
    "downloaded data with a source": (
        ["data", "prepare", "cifar10", "--source", "no"],
        "--source must be left out for cifar10, which TFDS prepares from the network; got 'no'",
    ),
    "data directory": (["data", "prepare", "digits", "--directory", "tiny.py"], "--directory must be a folder that"),
    "list with words": (["list", "networks"], "unexpected argument 'networks'"),
    "unknown option of the command": (["--verison"], "did you mean"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_bad_command(case, tiny, vifx_command, files, tmp_path):
    arguments, expected = COMMANDS[case]
    before = files(tmp_path)
    result = vifx_command(*arguments)
    assert result.code == 2
    assert expected in result.message
    assert "Traceback" not in result.err
    assert files(tmp_path) == before


FILES = {
    "syntax": ("def build(config:\n", ["broken.py:1", "invalid syntax"]),
    "import": ("import json\nimport no_such_module\n", ["broken.py:2", "No module named 'no_such_module'"]),
    "name": ("\n\nx = undefined_name\n", ["broken.py:3", "undefined_name"]),
    "no config": ("def build(config): ...\n", ["class Config(experiment.Config)", "no Config"]),
    "no build": (
        "from dataclasses import dataclass\nfrom vifx import experiment\n"
        "@dataclass(frozen=True)\nclass Config(experiment.Config): ...\n",
        ["needs a function `build(config) -> Experiment`"],
    ),
    "build fails": (
        "from vifx.experiment import Config\ndef build(config):\n    raise ValueError('depth must be even, got 3')\n",
        ["depth must be even, got 3", "broken.py:3"],
    ),
    "build returns nothing": (
        "from vifx.experiment import Config\ndef build(config): ...\n",
        ["build must return an Experiment", "NoneType"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_experiment_file(case, tiny, vifx_command, files, tmp_path):
    text, expected = FILES[case]
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    before = files(tmp_path)
    result = vifx_command("train", "broken.py")
    assert result.code == 2
    for words in expected:
        assert words in result.message
    assert files(tmp_path) == before


@pytest.mark.parametrize(("loaded", "named"), [("config.data", "--data.name"), ("data.Config('digts')", "name")])
def test_unknown_data_names_the_option_if_it_came_from_there(loaded, named, tiny, vifx_command, tmp_path):
    (tmp_path / "data").mkdir()
    tiny.write_text(tiny.read_text().replace('"""Build it."""', f"data.load({loaded})"))
    result = vifx_command("train", tiny, *(["--data.name", "digts"] if loaded == "config.data" else []))
    assert result.code == 2
    assert result.message.startswith(f"{named} must be a known dataset, got 'digts'; did you mean 'digits'?")
    assert "tiny.py:" in result.message


@pytest.mark.parametrize("given", ["tinny", "tinny.py", "elsewhere/tiny.py", "experiments/tinny"])
def test_missing_file_is_looked_for_among_the_experiments(given, tiny, vifx_command, tmp_path):
    (tmp_path / "experiments").mkdir()
    tiny.rename(tmp_path / "experiments" / "tiny.py")
    result = vifx_command("train", given)
    assert result.code == 2
    assert result.message.endswith("did you mean 'experiments/tiny.py'?")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_box_on_a_terminal_and_one_line_in_a_pipe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    message = "cannot read /a/path/that/is/far/longer/than/the/window/is/wide"
    for stream in (Terminal(), io.StringIO()):
        with redirect_stderr(stream):
            boxed(message, title="stopped")
        if stream.isatty():
            assert "╭─ stopped ─" in stream.getvalue()
            assert len(stream.getvalue().splitlines()) == 5
        else:
            assert stream.getvalue() == f"stopped: {message}\n"


def test_network_that_does_not_fit_is_found_before_anything_is_written(tiny, vifx_command, files, tmp_path):
    tiny.write_text(tiny.read_text().replace("BernoulliHead((4, 4, 1))", "BernoulliHead((4, 5, 1))"))
    before = files(tmp_path)
    result = vifx_command("train", tiny)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert files(tmp_path) == before


def test_debug_checks_keep_the_traceback_of_a_broken_experiment(tiny, vifx_command):
    tiny.write_text(tiny.read_text().replace('"""Build it."""', 'raise ValueError("depth must be even")'))
    shown = vifx_command("train", tiny, "--debug-checks")
    assert shown.code == 1
    assert shown.err.startswith("Traceback")
    assert shown.err.endswith("ValueError: depth must be even\n")


@pytest.mark.parametrize(
    ("option", "said", "runs"),
    [
        ("-n", "unknown option '-n'; options begin with two dashes (see vifx train tiny.py --help)", False),
        ("-latent", "unknown option '-latent'; options begin with two dashes (see vifx train tiny.py --help)", False),
        ("--latnet", "unknown option '--latnet'; did you mean '--latent'? (see vifx train tiny.py --help)", True),
    ],
)
def test_what_no_config_can_have_is_refused_before_the_file_is_run(option, said, runs, tiny, vifx_command, tmp_path):
    """Which options of two dashes there are, only running the file can tell."""
    tiny.write_text(tiny.read_text() + '\nimport pathlib\npathlib.Path("ran").touch()\n')
    result = vifx_command("train", "tiny.py", option, "5")
    assert (result.code, result.message) == (2, said)
    assert (tmp_path / "ran").exists() == runs


def test_run_directory_in_use(tiny, vifx_command, files, tmp_path):
    (tmp_path / "a run").mkdir()
    (tmp_path / "a run" / "config.json").write_text("{}")
    before = files(tmp_path)
    result = vifx_command("train", tiny, "--run", "a run")
    assert result.code == 2
    assert "vifx resume 'a run'" in result.message
    assert files(tmp_path) == before


@pytest.mark.parametrize("there", [False, True])
def test_of_two_processes_that_make_the_same_run_one_does(there, tiny, monkeypatch, tmp_path):
    """Both find no run there; while the first writes its record, the second is refused and changes nothing."""
    if there:
        (tmp_path / "run").mkdir()
    both, environment = threading.Barrier(2), run_module.environment

    def met(file):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return environment(file)

    monkeypatch.setattr(run_module, "environment", met)
    file = experiment.load(tiny)
    both_runs = [run_module.Run(tmp_path / "run", file, file.config(seed=seed)) for seed in (1, 2)]
    with ThreadPoolExecutor() as pool:
        errors = [future.exception() for future in [pool.submit(run_module.create, run) for run in both_runs]]
    (refused,) = filter(None, errors)
    assert str(refused).startswith("another process is creating a run in '/")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["config"]["seed"] == 1 + errors.index(None)
    with pytest.raises(FileExistsError, match="vifx resume"):
        run_module.create(both_runs[0])


def test_a_process_that_was_killed_as_it_made_a_run_keeps_nobody_out(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".claim").touch()
    file = experiment.load(tiny)
    run_module.create(run_module.Run(tmp_path / "run", file, file.config()))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


@pytest.mark.thorough
def test_a_default_directory_that_another_process_takes_meanwhile_is_left_to_it(
    tiny, vifx_command, monkeypatch, tmp_path
):
    def create(run):
        if "/tiny-" in str(run.directory) and not list((tmp_path / "runs").glob("*")):
            run.directory.mkdir(parents=True)
            (run.directory / "config.json").write_text("theirs")
        run_module.create(run)

    monkeypatch.setattr(runs, "create", create)
    result = vifx_command("train", tiny, "--steps", "2")
    assert (result.code, result.err) == (0, "")
    theirs, ours = sorted((tmp_path / "runs").iterdir())
    assert f"run directory {ours.relative_to(tmp_path)}, since another process" in result.out.replace("\n", " ")
    assert [path.read_text() for path in theirs.iterdir()] == ["theirs"]
    assert (ours / "report.html").is_file()


@pytest.mark.parametrize("where", ["tiny.py", "tiny.py/run"])
def test_run_directory_that_cannot_be_made(where, tiny, vifx_command, files, tmp_path):
    before = files(tmp_path)
    result = vifx_command("train", tiny, "--run", where)
    assert result.code == 2
    assert "tiny.py" in result.message
    assert files(tmp_path) == before


@pytest.mark.thorough
def test_config_that_was_edited_or_damaged(tiny, vifx_command, tmp_path):
    assert vifx_command("train", tiny, "--run", "run", "--steps", "2").code == 0
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text())
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    record["config"]["learning_rate"] = 0.5
    path.write_text(json.dumps(record))
    result = vifx_command("resume", "run", "--steps", "4")
    assert result.code == 2
    assert "not the one that the run was started with" in result.message

    record["config"]["learning_rat"] = record["config"].pop("learning_rate")
    path.write_text(json.dumps(record))
    result = vifx_command("evaluate", "run")
    assert result.code == 2
    assert "did you mean 'learning_rate'" in result.message

    path.write_text(path.read_text()[:100])
    result = vifx_command("sample", "run")
    assert result.code == 2
    assert "not the config of a run" in result.message
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log


@pytest.mark.thorough
def test_resume_refuses_another_experiment_other_options_and_fewer_steps(tiny, vifx_command):
    assert vifx_command("train", tiny, "--run", "run", "--steps", "4").code == 0
    for arguments, expected in (
        (["--steps", "2"], "can only extend a run: it goes to 4; got 2"),
        (["--latent", "3"], "unknown option '--latent'"),
    ):
        result = vifx_command("resume", "run", *arguments)
        assert result.code == 2
        assert expected in result.message
    tiny.write_text(tiny.read_text().replace("More lines.", "Other lines."))
    result = vifx_command("resume", "run", "--steps", "6")
    assert result.code == 2
    assert "has changed since the run was started" in result.message


def write_idx(path, array, *, magic=(0, 0, 8), cut=None):
    header = bytes([*magic, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes())[:cut])


DAMAGES = {
    "truncated gzip": ({"cut": 60}, {}, "a complete gzip stream"),
    "wrong magic": ({"magic": (1, 2, 3)}, {}, "magic number"),
    "counts that disagree": ({}, {"array": np.zeros(7, np.uint8)}, "7 labels for 20 images"),
    "labels out of range": ({}, {"array": np.full(20, 11, np.uint8)}, "label 11 at example 0"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_data(case, tiny, vifx_command, files, tmp_path):
    images, labels, expected = DAMAGES[case]
    folder = tmp_path / "raw files"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    for prefix, damage in (("t10k", {}), ("train", images)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pixels, **damage)
    for prefix, damage in (("t10k", {}), ("train", labels)):
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", **({"array": np.zeros(20, np.uint8)} | damage))
    before = files(tmp_path)
    result = vifx_command("data", "prepare", "fashion_mnist", "--source", folder)
    assert result.code == 2
    assert expected in result.message
    assert "raw files/train-" in result.message
    assert files(tmp_path) == before
    result = vifx_command("data", "prepare", "fashion_mnist", "--source", tmp_path / "missing")
    assert result.code == 2
    assert "missing" in result.message
    assert files(tmp_path) == before
