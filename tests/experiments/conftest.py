"""Small data for the experiments."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from vifx import data
from vifx.cli import main
from vifx.training import read_metrics

FOLDER = Path(__file__).parents[2] / "experiments"


class Finished(NamedTuple):
    """A run that went to its end: rows of the log, what was measured, what was drawn and what was printed."""

    rows: list[dict[str, float]]
    found: dict[str, float]
    drawn: set[str]
    shown: Any


def finished(name: str, options: list[str], folder: Path, capsys: Any) -> Finished:
    """Train an experiment to its end; every number of its log must be finite."""
    run = folder / "run"
    code = main(["train", str(FOLDER / f"{name}.py"), *options, "--run", str(run)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    rows = read_metrics(run / "metrics.jsonl")
    assert all(np.isfinite(value) for row in rows for value in row.values())
    results = json.loads((run / "results.json").read_text())["metrics"]
    found = {metric: row["value"] for metric, row in results.items()}
    return Finished(rows, found, {path.stem for path in (run / "figures").iterdir()}, shown)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def prepare_twonorm(folder: Path) -> None:
    """Prepare a small table of that name, drawn from its law, in KEEL's format."""
    law, generator = data.modes("twonorm"), np.random.default_rng(0)
    y = np.arange(300) % 2
    x = law.centres[y] + generator.standard_normal((300, 20))
    header = ["@relation twonorm", *(f"@attribute A{i} real" for i in range(20)), "@attribute Class {0, 1}", "@data"]
    rows = [", ".join([*(f"{value:.4f}" for value in row), str(label)]) for row, label in zip(x, y, strict=True)]
    (folder / "twonorm.dat").write_text("\n".join([*header, *rows]))
    data.prepare(data.Config("twonorm", directory=str(folder), source=str(folder)))


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Prepared digits, and a small data set in Fashion-MNIST's format."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for prefix, size in (("train", 60), ("t10k", 20)):
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(size, dtype=np.uint8) % 10)
    data.prepare(data.Config("digits", directory=str(folder)))
    data.prepare(data.Config("fashion_mnist", directory=str(folder), source=str(folder)))
    return folder
