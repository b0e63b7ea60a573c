"""Every experiment of the VAE family builds, trains, measures and draws: a full run's code, with small numbers.

The variants are behind the marker `slow`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vifx.cli import main
from vifx.training import read_metrics

FOLDER = Path(__file__).parents[2] / "experiments"
TEXT = FOLDER / "vae_text.py"
FAMILIES = ("vae", "iwae", "hvae", "cvae")
FILES = sorted({path for path in FOLDER.glob("*.py") if path.stem.split("_")[0] in FAMILIES} - {TEXT})
SMALL = ["--steps", "4", "--log-every", "2", "--evaluate-every", "2", "--hidden", "16", "--data.batch-size", "10"]
SMALL += ["--bound-examples", "4"]
FASHION = ["--data.name", "fashion_mnist", "--data.validation", "10"]
EXTRA = {
    "vae_fashion_mnist": [["--precision", "bfloat16"], ["--likelihood", "discretized_logistic"]],
    "iwae_fashion_mnist": [["--samples", "3"], ["--samples", "2", "--gradient", "doubly_reparameterized"]],
    "vae_sprites": [["--channels", "2", "2", "2", "2", "--data.validation", "50"]],
    "hvae_fashion_mnist": [["--latents", "3", "2"], ["--latents", "4", "3", "2", "--direction", "bottom_up"]],
}
CASES = [
    pytest.param(path, extra, marks=pytest.mark.slow if index else ())
    for path in FILES
    for index, extra in enumerate(EXTRA.get(path.stem, [[]]))
]
DRAWN = {"vae": "traversal", "iwae": "traversal", "hvae": "levels", "cvae": "styles"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "extra"), CASES, ids=lambda value: value.stem if isinstance(value, Path) else " ".join(value)
)
def test_trains_to_the_end(path, extra, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIFX_DATA", str(folder))
    options = [*SMALL, *(FASHION if "fashion" in path.stem else []), *extra]
    code = main(["train", str(path), *options, "--run", str(tmp_path / "run")])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[1]["loss/model"] < rows[0]["loss/model"]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    found = {
        name: m["value"] for name, m in json.loads((tmp_path / "run" / "results.json").read_text())["metrics"].items()
    }
    assert found["iwae/1"] <= found["iwae/50"] <= found["iwae/1000"]
    terms = sum(value for name, value in found.items() if name.startswith(("kl/", "nll/")))
    assert found["elbo"] == pytest.approx(-terms, rel=1e-4)
    drawn = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    assert drawn >= {"samples", "reconstructions", "loss", "bound", DRAWN[path.stem.split("_")[0]]}
    assert "report" in shown.out


@pytest.mark.thorough
@pytest.mark.parametrize("extra", [[], ["--annealing", "0", "--word-dropout", "0", "--free-bits", "0"]], ids=len)
def test_a_text_autoencoder_trains_to_the_end(extra, tmp_path, capsys):
    file, run = tmp_path / "text.txt", tmp_path / "run"
    generator = np.random.default_rng(0)
    file.write_text(" ".join(generator.choice(["one", "two", "three", "four", "five."], 1500)))
    options = ["--steps", "4", "--log-every", "2", "--evaluate-every", "2", "--features", "4", "--dilations", "1", "2"]
    options += ["--data.source", str(file), "--data.batch-size", "10", "--bound-examples", "4", *extra]
    code = main(["train", str(TEXT), *options, "--run", str(run)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    found = {name: m["value"] for name, m in json.loads((run / "results.json").read_text())["metrics"].items()}
    assert found["nll/character"] == pytest.approx(-found["iwae/100"] / 64, rel=1e-6)
    assert found["elbo"] == pytest.approx(-found["kl/z"] - found["nll/x"], rel=1e-4)
    assert found["nll/character/ngram"] < found["nll/character/plain"] < np.log(30)
    assert "upper bound, by iwae/100, of 4 windows" in shown.out
    assert {path.stem for path in (run / "figures").iterdir()} >= {"samples", "reconstructions", "collapse", "loss"}


def test_there_are_the_experiments_of_the_readme():
    assert {path.stem for path in FILES} >= {
        *("vae_digits", "vae_fashion_mnist", "iwae_fashion_mnist", "hvae_fashion_mnist", "cvae_digits"),
    }
