"""A tiny experiment, and the command run in this process."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from vifx.cli import main

TINY = '''"""A tiny autoencoder on random bits.

More lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import optax

import vifx
from vifx import data, evaluation, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options."""

    steps: PositiveInt = 8
    log_every: PositiveInt = 2
    checkpoint_every: PositiveInt = 4
    learning_rate: PositiveFloat = 1e-2
    latent: PositiveInt = 2
    hidden: tuple[PositiveInt, ...] = (5,)
    flavour: Literal["vanilla", "chocolate"] = "vanilla"
    poison: bool = False
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=16))


def build(config: Config) -> Experiment:
    """Build it."""
    bits = np.random.default_rng(0).integers(0, 2, (60, 4, 4, 1)).astype(np.float32)
    bits[3, 0, 0, 0] = np.nan if config.poison else 0.0
    splits = data.from_arrays(train={"x": bits[:40]}, test={"x": bits[40:]}, validation=8)
    encoder = networks.Conditional(networks.MLP(config.hidden), networks.DiagonalNormal((config.latent,)))
    decoder = networks.Conditional(networks.MLP(config.hidden), networks.BernoulliHead((4, 4, 1)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    images = evaluation.DecodedImages(generative, evaluation.unscaled(0.0, 1.0))
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(config.learning_rate)),
        source=data.Resident(splits.train, config.data.batch_size, config.seed),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=evaluation.monitor_loss(objective, splits.validation),
        evaluate=evaluation.measure_bounds(inference, generative, splits.test, samples=(1, 4)),
        drawings={"samples": images.draw_samples(n=4)},
        sample=images.sample,
        best="validation/loss",
    )
'''


class Result(NamedTuple):
    """What a call of the command gave."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The message on the one line on standard error."""
        assert self.err.endswith("\n"), "nothing on standard error"
        assert self.err.count("\n") == 1
        title, separator, message = self.err.rstrip("\n").partition(": ")
        assert title in {1: ("stopped",), 2: ("error",)}[self.code]
        assert separator
        return message


def experiment_in(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the experiment, and work beside it."""
    monkeypatch.chdir(directory)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("VIFX_DATA", str(directory / "data"))
    path = directory / "tiny.py"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file in an empty working directory."""
    return experiment_in(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def vifx_command():
    """Run the command in this process: ``vifx_command("train", path, ...) -> Result``."""

    def run(*arguments: object) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(a) for a in arguments])
        return Result(code, out.getvalue(), err.getvalue())

    return run


def leaves(run: Path) -> dict[str, bytes]:
    """Every leaf of the last checkpoint by path, by its checksum; keys and optimizer state included."""
    last = max((p for p in (run / "checkpoints").iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    manifest = json.loads((last / "manifest" / "metadata").read_text())
    return {leaf["path"]: leaf["sha256"] for leaf in manifest["leaves"]} | {"step": last.name}


class Trained(NamedTuple):
    """A run that tests read or copy, and what the command gave."""

    run: Path
    result: Result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, vifx_command):
    """Train the tiny experiment with some options, once for all tests: ``trained("--steps", 4) -> Trained``."""

    @cache
    def train(*options: object) -> Trained:
        directory = tmp_path_factory.mktemp("trained")
        with pytest.MonkeyPatch.context() as monkeypatch:
            path = experiment_in(directory, monkeypatch)
            result = vifx_command("train", path, "--run", "run", *options)
        assert result.code == 0
        return Trained(directory / "run", result)

    return train


@pytest.fixture
def copied(trained, tiny, tmp_path: Path):
    """A copy of a trained run and its experiment in the working directory: ``copied("name", *options) -> Result``."""

    def copy(name: str, *options: object) -> Result:
        run, result = trained(*options)
        shutil.copytree(run, tmp_path / name)
        path = tmp_path / name / "config.json"
        record = json.loads(path.read_text())
        record["experiment"]["file"] = str(tiny)
        path.write_text(json.dumps(record))
        return result

    return copy


@pytest.fixture
def written(tmp_path: Path):
    """What a complete run of eight updates writes, for those who only read files: ``written("name") -> directory``."""

    def write(name: str) -> Path:
        run = tmp_path / name
        (run / "figures").mkdir(parents=True)
        record = {
            "command": ["vifx", "train", "tiny.py"],
            "config": {"seed": 0, "steps": 8, "data": {"name": "digits"}},
            "experiment": {"file": str(tmp_path / "tiny.py"), "sha256": ""},
            "versions": {"jax": "1"},
        }
        rows = [{"step": step, "loss/model": 9.0 - step, "validation/loss": 8.0 - step / 2} for step in (2, 4, 6, 8)]
        found = {"elbo": {"value": -3.5, "standard_error": 0.1, "unit": "nats"}}
        (run / "config.json").write_text(json.dumps(record))
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / "results.json").write_text(json.dumps({"step": 6, "metrics": found, "alarms": []}))
        Image.new("RGB", (4, 4)).save(run / "figures" / "samples.png")
        return run

    return write


@pytest.fixture
def files():
    """Every path below a directory, to see that nothing was written."""

    def listed(directory: Path) -> set[str]:
        return {str(p.relative_to(directory)) for p in directory.rglob("*") if "__pycache__" not in p.parts}

    return listed


@pytest.fixture
def executable() -> list[str]:
    """The command as a process of its own, with Ctrl-C as in a terminal: background jobs inherit it ignored."""
    answered = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return [sys.executable, "-c", f"{answered}; from vifx.cli import script; script()"]
