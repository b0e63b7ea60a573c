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
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem.split("_")[0] in ("vae", "iwae", "hvae", "cvae"))
SMALL = ["--steps", "4", "--log-every", "2", "--evaluate-every", "2", "--hidden", "16", "--data.batch-size", "10"]
SMALL += ["--bound-examples", "4"]
FASHION = ["--data.name", "fashion_mnist", "--data.validation", "10"]
EXTRA = {
    "vae_fashion_mnist": [["--precision", "bfloat16"], ["--likelihood", "discretized_logistic"]],
    "iwae_fashion_mnist": [["--samples", "3"], ["--samples", "2", "--gradient", "doubly_reparameterized"]],
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


def test_there_are_the_experiments_of_the_readme():
    assert {path.stem for path in FILES} >= {
        *("vae_digits", "vae_fashion_mnist", "iwae_fashion_mnist", "hvae_fashion_mnist", "cvae_digits"),
    }
