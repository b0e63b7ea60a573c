"""The tables of a study's page are those of the file that the study wrote."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

DOCS = Path(__file__).parents[1] / "docs"


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"studies/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, json.loads((DOCS / f"studies/{name}.json").read_text())


proximal, ROWS = load("proximal")
regularizers, STUDY = load("regularizers")
scaling, COSTS = load("scaling")


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


def test_the_page_quotes_the_study_of_regularizers():
    page = (DOCS / "supervised.md").read_text(encoding="utf-8")
    lines = regularizers.table(STUDY["rows"])
    assert len(lines) == 6
    assert [line for line in lines if line not in page] == []
    chosen = {arm: found["best"] for arm, found in STUDY["chosen"].items()}
    assert chosen == {arm: min(found["scores"], key=lambda pair: pair[1])[0] for arm, found in STUDY["chosen"].items()}
    words = ", ".join(f"{regularizers.STRENGTHS[arm][0]} {best:g}" for arm, best in chosen.items())
    assert words in page


def test_every_regularizer_has_every_seed():
    arms = [(row["arm"], row["seed"]) for row in STUDY["rows"]]
    assert arms == [(arm, seed) for arm in regularizers.ARMS for seed in regularizers.SEEDS]
    assert regularizers.CHOOSING not in regularizers.SEEDS


@pytest.mark.parametrize("metric", list(regularizers.METRICS))
def test_differences_are_paired_with_the_interval_of_students_t(metric):
    pair = [regularizers.values(STUDY["rows"], arm, metric) for arm in ("mixup", "none")]
    mean, half = regularizers.difference(STUDY["rows"], "mixup", metric)
    found = ttest_rel(*pair).confidence_interval(0.95)
    np.testing.assert_allclose([mean - half, mean + half], [found.low, found.high], rtol=1e-9)


def test_claims_of_the_page_on_regularizers():
    def excludes_zero(metric):
        found = {arm: regularizers.difference(STUDY["rows"], arm, metric) for arm in regularizers.STRENGTHS}
        return {arm for arm, (mean, half) in found.items() if abs(mean) > half}

    def mean(arm, metric):
        return regularizers.values(STUDY["rows"], arm, metric).mean()

    every = set(regularizers.STRENGTHS)
    assert excludes_zero("nll") == excludes_zero("calibration_error") == every
    assert excludes_zero("accuracy") == {"gradient"}
    assert excludes_zero("nll_tempered") == {"gradient", "weight_decay"}
    assert excludes_zero("accuracy_noise") == every - {"gradient"}
    assert mean("none", "nll_tempered") < mean("mixup", "nll")
    assert mean("none", "temperature") == pytest.approx(1.7, abs=0.05)
    scores = [score for _, score in STUDY["chosen"]["mixup"]["scores"]]
    np.testing.assert_allclose(scores, [0.402, 0.410, 0.428, 0.443], atol=6e-4, rtol=1e-3)


def test_the_page_quotes_the_study_of_scaling():
    page = (DOCS / "scaling.md").read_text(encoding="utf-8")
    lines = scaling.table(COSTS["compiled"]) + scaling.measured_table(COSTS["measured"])
    assert len(lines) >= len(scaling.WORKLOADS) + len({row["workload"] for row in COSTS["measured"]})
    assert [line for line in lines if line not in page] == []


def test_predictions_are_a_roofline_and_a_ring():
    row = {"topology": "h200:8", "matmul_flops": 494.5e12, "bytes_accessed": 4.8e12 / 2, "reduced": 450e9}
    assert scaling.predicted(row, 1) == pytest.approx(1.0)
    assert scaling.predicted(row, 8) == pytest.approx(1 + 2 * 7 / 8)
    assert scaling.predicted({**row, "bytes_accessed": 9.6e12}, 64) == pytest.approx(2 + 2 * 63 / 64 * 9)


@pytest.mark.parametrize("row", COSTS["compiled"], ids=lambda row: f"{row['workload']} on {row['topology']}")
def test_counts_of_the_study_are_plausible(row):
    """Gradients are of every parameter, in single precision; a parameter takes part in two products and more."""
    assert row["parameters"] == pytest.approx(100e6, rel=0.1)
    assert row["reduced"] == pytest.approx(4 * row["parameters"], rel=0.1)
    assert row["matmul_flops"] >= 4 * row["parameters"] * row["examples"]
    assert row["memory"] > 12 * row["parameters"]
