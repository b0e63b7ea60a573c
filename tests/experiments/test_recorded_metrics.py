"""The numbers in the experiments' headers come out again (pytest -m slow).

Fashion-MNIST must be prepared: ``vifx data prepare fashion_mnist --source FOLDER``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vifx.cli import main

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))
TOLERANCE = 1.0
"""Nats: training amplifies the rounding of other machines; a wrong constant is far larger."""


def recorded(path):
    """The header's ``−ELBO`` and ``IWAE-1000``, in nats."""
    found = re.search(r"^Metric:\s+−ELBO ([\d.]+) and IWAE-1000 ([\d.]+) nats", path.read_text(), re.MULTILINE)
    return tuple(map(float, found.groups()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_headers_record_both_bounds_in_order(path):
    nelbo, iwae = recorded(path)
    assert 100 < iwae < nelbo < 300


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_recorded_metric_comes_out(path, tmp_path):
    assert main(["train", str(path), "--run", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    nelbo, iwae = recorded(path)
    assert -metrics["elbo"]["value"] == pytest.approx(nelbo, abs=TOLERANCE)
    assert -metrics["iwae/1000"]["value"] == pytest.approx(iwae, abs=TOLERANCE)
