"""The numbers in the experiments' headers come out again (pytest -m slow).

Fashion-MNIST and a table must be prepared: ``vifx data prepare fashion_mnist --source FOLDER``, and ``twonorm``.
`VIFX_SQUAD` is the file of questions that the header of `dgcnn_squad` names.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import pytest

from vifx.cli import main

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))
HEADERS = {
    r"distance ([\d.]+) between and ([\d.]+) after what was seen": ("error/between", "error/after"),
    r"([\d.]+) nats a character": ("nll/character",),
    r"KL ([\d.]+) nats from the true density": ("kl/true",),
    r"−ELBO ([\d.]+) and IWAE-1000 ([\d.]+) nats": ("elbo", "iwae/1000"),
    r"−ELBO ([\d.]+) nats on the test split": ("elbo",),
    r"FMD ([\d.]+) and coverage ([\d.]+)": ("fmd", "coverage"),
    r"(\d+) modes and ([\d.]+) of samples": ("modes", "high_quality"),
    r"mean ([\d.]+) and scale ([\d.]+)": ("mean", "scale"),
    r"([\d.]+) bits/dim": ("bits_per_dim",),
    r"flow ELBO (−?[\d.]+) nats": ("flow/elbo",),
    r"NLL (−?[\d.]+) nats": ("nll/x",),
    r"log q\(x\) (−?[\d.]+) nats": ("log_prob/test",),
    r"F1 ([\d.]+) on \d+": ("f1",),
    r"accuracy ([\d.]+) and calibration error ([\d.]+)": ("accuracy", "calibration_error"),
    r"RSS ([\d.]+), and bands that cover ([\d.]+)": ("rss", "covered"),
    r"log evidence ([\d.]+) nats and effective share ([\d.]+)": ("log_evidence", "effective_share"),
}
TOLERANCES = {
    "error/between": {"abs": 0.02},
    "error/after": {"abs": 0.1},
    "nll/character": {"abs": 0.05},
    "kl/true": {"abs": 0.02},
    "elbo": {"abs": 1.0},
    "iwae/1000": {"abs": 1.0},
    "fmd": {"rel": 0.3},
    "coverage": {"abs": 0.1},
    "modes": {"abs": 1.0},
    "high_quality": {"abs": 0.05},
    "mean": {"abs": 0.05},
    "scale": {"abs": 0.05},
    "bits_per_dim": {"abs": 0.05},
    "nll/x": {"abs": 0.03},
    "log_prob/test": {"abs": 0.3},
    "rss": {"rel": 0.005},
    "covered": {"abs": 0.1},
    "log_evidence": {"abs": 0.02},
    "effective_share": {"abs": 0.05},
    "f1": {"abs": 0.04},
    "accuracy": {"abs": 0.01},
    "calibration_error": {"abs": 0.02},
}
"""Training amplifies the rounding of other machines; a wrong constant, or a collapse, is far larger."""


def recorded(path):
    """The numbers of a header, by the names that they have in the results."""
    header = re.search(r"^Metric:.*(?:\n {10}.*)*", path.read_text(), re.MULTILINE).group()
    for pattern, names in HEADERS.items():
        if found := re.search(pattern, header):
            signs = [-1.0 if name in ("elbo", "iwae/1000") else 1.0 for name in names]
            return {
                name: sign * float(value.replace("−", "-"))
                for name, sign, value in zip(names, signs, found.groups(), strict=True)
            }
    return {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_headers_record_plausible_metrics(path):
    found = recorded(path)
    assert found, "the header has no metric that this test knows"
    if "elbo" in found:
        least = -330 if "it has not converged" in path.read_text() else -300
        assert least < found["elbo"] < found.get("iwae/1000", -20.1) < -20
    if "fmd" in found:
        assert 0 < found["fmd"] < 150
        assert 0 < found["coverage"] <= 1
    if "bits_per_dim" in found:
        # In bits, the grey pixels of digits have at most log₂ 17 = 4.09; a Gaussian on the logits of clothes has 4.24.
        # What says that it has not converged is better than uniform pixels.
        short, clothes = "it has not converged" in path.read_text(), "fashion" in path.stem
        assert 1 < found["bits_per_dim"] < (8 if short else 4.24 if clothes else 2.4)
    if "flow/elbo" in found:
        assert -1.2 < found["flow/elbo"] < -0.99  # the law has −1.025 on these points
    if "nll/x" in found:
        assert 0.9 < found["nll/x"] < 1.1
    if "kl/true" in found:
        assert 0 < found["kl/true"] < 0.08  # the standard error of the true density's own score
    if "nll/character" in found:
        assert 1 < found["nll/character"] < math.log(97)  # of characters that are drawn alike
    if "error/between" in found:
        assert 0.03 < found["error/between"] < 0.1  # less than the noise of a point
        assert found["error/between"] < found["error/after"] < 0.5
    if "accuracy" in found:
        assert 0.85 < found["accuracy"] < 1
        assert 0 < found["calibration_error"] < 0.05
    if "rss" in found:
        assert 0.8 < found["covered"] <= 1
        if path.stem == "ode_competition":
            assert abs(found["rss"] - 0.529) < 5e-4  # the exact equation's
        else:
            assert abs(found["rss"] / 9 - 35) < 4.3 * math.sqrt(2 * 35)  # 41 observations, 6 parameters, noise 3
    if "f1" in found:
        assert 0.1 < found["f1"] < 1
    if "modes" in found:
        assert found["high_quality"] <= 0.9889


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_recorded_metric_comes_out(path, tmp_path):
    source = ["--data.source", os.environ["VIFX_SQUAD"]] if path.stem == "dgcnn_squad" else []
    assert main(["train", str(path), *source, "--run", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    for name, value in recorded(path).items():
        assert metrics[name]["value"] == pytest.approx(value, **TOLERANCES[name])
