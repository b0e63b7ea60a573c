"""How an experiment is named on the command line, and what is said of it without its data and while it trains."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vifx import data, experiment
from vifx.cli.console import watch
from vifx.cli.file_options import TrainOptions
from vifx.cli.prepare import build, parse_experiment
from vifx.training import Event

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize("name", ["tiny", "tiny.py", "experiments/tiny", "experiments/tiny.py"])
@pytest.mark.parametrize("before", [[], ["--latent", "3"], ["--latent=3", "--poison", "--hidden", "4", "5"]])
def test_name_of_an_experiment_and_options_before_it(name, before, tiny, tmp_path):
    (tmp_path / "experiments").mkdir()
    tiny.rename(tmp_path / "experiments" / "tiny.py")
    file, config, options = parse_experiment([*before, name, "--run", "here"], "train", TrainOptions)
    assert file.path == Path("experiments/tiny.py")
    assert options.run == Path("here")
    expected = {0: (2, False, (5,)), 2: (3, False, (5,)), 5: (3, True, (4, 5))}[len(before)]
    assert (config.latent, config.poison, config.hidden) == expected


def test_a_file_beside_comes_before_one_in_experiments(tiny, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text("")
    assert parse_experiment(["tiny"], "train", TrainOptions)[0].path == Path("tiny.py")


@pytest.mark.first(1)
@pytest.mark.parametrize("name", ["iwae_fashion_mnist", "glow_fashion_mnist"])
def test_explain_needs_no_data(name, vifx_command, files, tmp_path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    monkeypatch.setenv("VIFX_DATA", str(tmp_path / "nothing here"))
    result = vifx_command("explain", name)
    assert (result.code, result.err) == (0, "")
    terms = {"iwae_fashion_mnist": "− H(p̃(x))", "glow_fashion_mnist": "generative  flow(x)"}
    assert terms[name] in result.out
    assert files(tmp_path) == set()


@pytest.mark.thorough
def test_em_on_all_data_asks_for_no_multiple_of_the_devices(tmp_path):
    file = experiment.load(EXPERIMENTS / "gmm_digits.py")
    config = file.config(mesh="data=8", data=data.Config("digits", directory=str(tmp_path)))
    assert len(build(file, config).splits.train["x"]) % 8 == 5


def test_outline_has_the_shapes_and_types_of_the_data(tmp_path):
    config = data.Config("digits", directory=str(tmp_path), batch_size=3000, validation=7)
    real, noise = data.load(config), data.load(config.outlined())
    assert len(noise.train["x"]) >= 3000
    assert len(noise.validation["x"]) == len(real.validation["x"]) == 7
    for split in ("train", "validation", "test"):
        for name, array in getattr(real, split).items():
            other = getattr(noise, split)[name]
            assert (other.dtype, other.shape[1:]) == (array.dtype, array.shape[1:])
    assert (noise.info.shape, noise.info.classes, noise.info.low, noise.info.high) == (
        real.info.shape,
        real.info.classes,
        real.info.low,
        real.info.high,
    )
    assert not np.array_equal(noise.test["x"][:360], real.test["x"])
    ring = data.Config("ring")
    assert ring.outlined() is ring


@pytest.mark.thorough
def test_report_has_the_derivation_of_the_command(copied, tiny, vifx_command, tmp_path):
    copied("run")
    derivation = vifx_command("explain", tiny).out.strip()
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"<pre>{html.escape(derivation)}</pre>" in page


def shown(metrics, own, *, width=200, terminal=False, steps=400):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=None, highlight=False)
    with watch(console, own) as observe:
        observe(Event(kind="start", step=0, steps=steps, metrics={}, seconds=0.0))
        for step in (100, 200, 300, 400):
            observe(Event(kind="log", step=step, steps=steps, metrics={"step": step, **metrics}, seconds=step / 10))
    return stream.getvalue()


LOGGED = {"critic/accuracy": 0.5, "critic/loss": 1.0, "a": 3.0, "validation/counts_kl": 0.1, "validation/modes": 24.0}


@pytest.mark.parametrize(
    ("own", "metrics", "expected"),
    [
        (["validation/modes", "critic/accuracy"], LOGGED, "validation/modes 24.00  critic/accuracy 0.500  critic/lo"),
        (["critic/accuracy", "validation/*"], LOGGED, "validation/counts_kl 0.100  validation/modes 24.00  cr"),
        ([], LOGGED, "critic/accuracy 0.500  critic/loss 1.000  validation/counts_kl 0.100"),
        (["kl/z"], {"kl/z": 2.0, "elbo": -90.5, "nll/x": 88.5}, "elbo -90.50  kl/z 2.000  nll/x 88.50"),
    ],
)  # fmt: skip
def test_the_experiments_own_metrics_are_shown(own, metrics, expected):
    line = shown(metrics, own).splitlines()[0]
    assert line.split("  ", 1)[1].startswith(expected)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bar_survives_in_a_narrow_window(width):
    frames = shown(LOGGED | {"validation/high_quality_samples": 0.912}, ["validation/*"], width=width, terminal=True)
    last = [line for line in frames.replace("\r", "\n").splitlines() if "400/400" in line][-1]
    assert last.count("━") >= 10
    assert "valid" in last


@pytest.mark.thorough
def test_headline_of_a_run_is_of_its_own_metrics(copied, tmp_path):
    result = copied("run")
    line = next(line for line in result.out.splitlines() if line.startswith("step 4/8"))
    assert line.split()[2] == "elbo"
    assert "validation/loss" in line
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["steps"] == 8
