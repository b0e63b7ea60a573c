"""Every experiment with a diffusion builds, trains, measures and draws: a full run's code, with small numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from experiments.conftest import FOLDER, finished

from vifx import data

STEPS = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2", "--data.batch-size", "20"]
STEPS += ["--bound-times", "2", "--flow-examples", "4", "--flow-steps", "2", "--sampler-steps", "2"]
IMAGES = [*STEPS, "--data.name", "digits", "--data.validation", "20", "--channels", "4", "8"]
CASES = {
    "diffusion_two_moons": (
        [*STEPS, "--hidden", "8"],
        [[], ["--chain-steps", "5", "--schedule", "cosine"], ["--schedule", "learned", "--weighting", "simple"]],
    ),
    "diffusion_digits": (IMAGES, [[], ["--chain-steps", "3", "--weighting", "min_snr"]]),
    "diffusion_fashion_mnist": (IMAGES, [[]]),
}
RUNS = [
    pytest.param(name, small, extra, marks=() if name == "diffusion_digits" and not index else pytest.mark.slow)
    for name, (small, extras) in CASES.items()
    for index, extra in enumerate(extras)
]


@pytest.fixture
def prepared(tmp_path_factory, monkeypatch):
    """Prepared digits."""
    folder = tmp_path_factory.getbasetemp() / "diffusion_data"
    monkeypatch.setenv("VIFX_DATA", str(folder))
    folder.mkdir(exist_ok=True)
    data.prepare(data.Config("digits"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "extra", [[], ["--chain-steps", "3", "--noise", "uniform", "--survival", "cosine", "--quality-examples", "20"]]
)
def test_digits_in_classes(extra, prepared, tmp_path, capsys):
    options = [*SMALL, "--data.name", "digits", "--data.validation", "20", *extra]
    found, drawn = trained("absorbing_digits", options, tmp_path, capsys)
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / 64 / math.log(2), rel=1e-5)
    # The logits are zero at first: every pixel has one of 17 shades, each as likely as the others.
    assert found["bits_per_dim"] == pytest.approx(math.log2(17), rel=0.1)
    assert drawn >= {"samples", "paths", "loss"}


@pytest.mark.thorough
def test_text_in_classes(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("a cat sat on a mat, and that was that. " * 300, encoding="utf-8")
    options = [*SMALL, "--data.source", str(text), "--bound-examples", "6"]
    found, drawn = trained("absorbing_text", options, tmp_path, capsys)
    assert found["nll/character"] == pytest.approx(-found["elbo"] / 64, rel=1e-5)
    assert found["bits/character"] == pytest.approx(found["nll/character"] / math.log(2), rel=1e-5)
    assert found["nll/character/ngram"] < found["nll/character"]
    assert drawn == {"samples", "paths", "loss"}


SMALL = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2", "--data.batch-size", "20"]
SMALL += ["--features", "8", "--depth", "1", "--heads", "2", "--bound-times", "8", "--sampler-steps", "3"]


def trained(name, options, tmp_path, capsys):
    _, found, drawn, _ = finished(name, options, tmp_path, capsys)
    assert found["elbo"] == pytest.approx(-found["kl/z_sampled"], rel=1e-5)
    assert found["nll/x"] == 0
    return found, drawn


def test_every_experiment_with_a_diffusion_is_tried():
    assert {path.stem for path in FOLDER.glob("diffusion_*.py")} == set(CASES)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "small", "extra"), RUNS, ids=lambda value: value if isinstance(value, str) else "")
def test_trains_to_the_end(name, small, extra, prepared, tmp_path, capsys):
    rows, found, drawn, _ = finished(name, [*small, *extra], tmp_path, capsys)
    assert [row["step"] for row in rows] == [2, 4]
    assert {"kl/z/prior", "kl/z/steps", "elbo", "validation/elbo"} <= set(rows[-1])
    assert found["kl/z_sampled"] == pytest.approx(found["kl/z/prior"] + found["kl/z/steps"], rel=1e-5)
    assert found["elbo"] == pytest.approx(-found["kl/z_sampled"] - found["nll/x"], rel=1e-5)
    if small is IMAGES:
        for prefix in ("", "flow/"):
            bits = -found[f"{prefix}elbo"] / 64 / math.log(2)
            assert found[f"{prefix}bits_per_dim"] == pytest.approx(bits, rel=1e-5)
        assert drawn == {"samples", "loss"}
    else:
        assert np.isfinite(found["flow/elbo"])
        assert drawn == {"density", "levels", "loss"}
