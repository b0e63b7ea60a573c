"""The tables of a study's page are those of the file that the study wrote."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[1] / "docs"
_spec = importlib.util.spec_from_file_location("proximal", DOCS / "studies/proximal.py")
proximal = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(proximal)
ROWS = json.loads((DOCS / "studies/proximal.json").read_text())


def test_the_page_quotes_the_file():
    page = (DOCS / "proximal.md").read_text(encoding="utf-8")
    for dataset in proximal.UPDATES:
        lines = proximal.table(ROWS, dataset)
        assert len(lines) == 9
        assert [line for line in lines if line not in page] == []


def test_every_arm_has_every_seed():
    arms = {(row["data"], row["updates"], row["weight"], row["seed"]) for row in ROWS}
    assert len(arms) == len(ROWS) == 2 * (1 + 4 + 4) * proximal.SEEDS
    assert all(len(row["score"]) == proximal.EVALUATIONS for row in ROWS)


def test_claims_of_the_page():
    def scores(dataset, updates, weight):
        arm = (dataset, updates, weight)
        return [row["score"][-1] for row in ROWS if (row["data"], row["updates"], row["weight"]) == arm]

    assert max(scores("digits", 2, 25.0)) < min(scores("digits", 2, 0.0))
    assert max(scores("digits", 5, 25.0)) < min(scores("digits", 5, 5.0))
    assert np.median(scores("digits", 5, 0.0)) > 400
    assert max(max(row["score"]) for row in ROWS if row["data"] == "grid25") < 0.1


def test_collapse_is_the_last_fall():
    assert proximal.collapse([10, 20, 20, 19]) is None
    assert proximal.collapse([10, 20, 5, 20]) is None
    assert proximal.collapse([10, 20, 20, 5]) == 1.0
    assert proximal.collapse([10, 20, 5, 4]) == 0.75
