"""Every experiment with a flow builds, trains, measures and draws: a full run's code, with small numbers.

Those that take longest, and the variants, are behind the marker `slow`. Images are 8×8 digits here, whatever the
experiment's own, and the feature network is a fixed random projection.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from experiments.conftest import FOLDER, finished, prepare_twonorm

from vifx import data
from vifx.cli import main
from vifx.evaluation import Features
from vifx.experiment import generator

FAMILIES = ("nice", "realnvp", "spline", "maf", "bnaf", "glow", "fvae", "flow")
STEPS = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2"]
DIGITS = [*STEPS, "--evaluate-every", "2", "--data.name", "digits", "--data.batch-size", "20"]
DIGITS += ["--data.validation", "20"]
DENSE = [*DIGITS, "--dequantizations", "1", "--depth", "2", "--hidden", "8"]
CONVOLUTIONS = [*DENSE[:-1], "4", "--levels", "1"]
PLANE = [*STEPS, "--data.batch-size", "20", "--depth", "2", "--hidden", "8"]
TABLE = [*STEPS, "--evaluate-every", "2", "--data.batch-size", "20", "--depth", "2", "--hidden", "3"]
CODED = [*DIGITS, "--hidden", "16", "--depth", "2"]
MATCHED = ["--flow-steps", "2", "--pairing", "optimal"]
MATCHED_PLANE = [*STEPS, "--data.batch-size", "20", "--hidden", "8", *MATCHED]
MATCHED_IMAGES = [*DIGITS, "--channels", "4", "8", "--flow-examples", "20", *MATCHED]
CASES = {
    "nice_digits": (DENSE, [[]]),
    "realnvp_digits": (DENSE, [[]]),
    "spline_digits": (DENSE, [["--bins", "3"]]),
    "spline_twonorm": (TABLE, [[], ["--no-principal", "--weight-decay", "0"]]),
    "maf_digits": (DENSE, [["--depth", "3"]]),
    "glow_digits": (CONVOLUTIONS, [[]]),
    "realnvp_fashion_mnist": (DENSE, [[]]),
    "glow_fashion_mnist": (CONVOLUTIONS, [["--levels", "2"]]),
    "realnvp_two_moons": (PLANE, [[], *(["--data.name", name] for name in ("checkerboard", "pinwheel"))]),
    "bnaf_two_moons": (PLANE, [["--data.name", "spirals"]]),
    "fvae_digits": ([*CODED, "--bound-examples", "4"], [[], ["--flow", "prior"], ["--flow", "none"]]),
    "fvae_fashion_mnist": ([*CODED, "--quality-examples", "40"], [[], ["--flow", "none"]]),
    "flow_matching_two_moons": (
        MATCHED_PLANE,
        [[], ["--path", "cosine", "--weighting", "logit_normal", "--method", "heun"]],
    ),
    "flow_matching_fashion_mnist": (MATCHED_IMAGES, [[]]),
    "flow_posterior_target": (
        [*STEPS, "--depth", "2", "--samples", "8"],
        [[], ["--target", "wave", "--family", "planar"], ["--target", "banana", "--family", "realnvp"]],
    ),
}
QUICK = ("realnvp_digits", "realnvp_two_moons")
RUNS = [
    pytest.param(name, small, extra, marks=() if name in QUICK and not index else pytest.mark.slow)
    for name, (small, extras) in CASES.items()
    for index, extra in enumerate(extras)
]


def project(images):
    """Sixteen fixed random projections of images in [0, 1]."""
    pixels = np.asarray(images, np.float64).reshape(len(images), -1)
    pixels = pixels / 255 if np.asarray(images).dtype == np.uint8 else pixels
    return pixels @ np.random.default_rng(0).standard_normal((pixels.shape[1], 16))


@pytest.fixture
def prepared(tmp_path_factory, monkeypatch):
    """Prepared digits and a small table, and the projection in the place of the feature network."""
    folder = tmp_path_factory.getbasetemp() / "flow_data"
    monkeypatch.setenv("VIFX_DATA", str(folder))
    folder.mkdir(exist_ok=True)
    data.prepare(data.Config("digits"))
    prepare_twonorm(folder)
    monkeypatch.setattr(generator, "features_of", lambda config: Features(project, "0" * 12, 1.0))


def test_every_experiment_with_a_flow_is_tried():
    names = {path.stem for path in FOLDER.glob("*.py") if path.stem.split("_")[0] in FAMILIES}
    assert names == set(CASES) | {"flow"}


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "small", "extra"), RUNS, ids=lambda value: value if isinstance(value, str) else "")
def test_trains_to_the_end(name, small, extra, prepared, tmp_path, capsys):
    rows, found, drawn, shown = finished(name, [*small, *extra], tmp_path, capsys)
    assert [row["step"] for row in rows] == [2, 4]
    if small in (DENSE, CONVOLUTIONS):
        shades = 17  # those of the digits, which stand for the clothes
        bits = (found["nll/x"] / 64 + math.log(shades)) / math.log(2)
        assert found["bits_per_dim"] == pytest.approx(bits, rel=1e-6)
        assert found["nll/pixels"] == pytest.approx(bits * 64 * math.log(2), rel=1e-6)
        assert 0 < found["bits_per_dim/gaussian"] < math.log2(shades)
        assert "upper bound, 1 dequantization averaged; 95 % interval" in shown.out
        assert drawn == {"samples", "interpolation", "likelihood", "loss"}
    elif small is PLANE:
        assert 1 < found["nll/x"] < 10
        assert "exact; 95 % interval" in shown.out
        assert drawn == {"density", "pushforward", "loss"}
    elif small is MATCHED_PLANE:
        assert 1 < found["nll/x"] < 10
        assert found["kl/true"] == pytest.approx(found["log_prob/test/true"] - found["log_prob/test"], rel=1e-5)
        assert drawn == {"density", "pushforward", "loss"} | ({"times"} if not extra else set())
        assert {"flow_matching/x", "validation/loss"} <= set(rows[-1])
    elif small is MATCHED_IMAGES:
        assert found["bits_per_dim"] == pytest.approx((found["nll/x"] / 64 + math.log(17)) / math.log(2), rel=1e-6)
        assert drawn == {"samples", "interpolation", "loss"}
        assert {"flow_matching/x", "validation/flow_matching/x"} <= set(rows[-1])
    elif small is TABLE:
        assert found["nll/x"] == pytest.approx(-found["log_prob/test"], rel=1e-6)
        assert found["kl/true"] == pytest.approx(found["log_prob/test/true"] - found["log_prob/test"], rel=1e-6)
        assert 20 < found["nll/x"] < 40
        assert drawn == {"projection", "loss"}
    elif "target" in name:
        assert np.isfinite(found["log_evidence"])
        assert "density" in drawn
    else:
        assert np.isfinite(found["elbo"])
        assert drawn >= {"samples", "loss"}


@pytest.mark.slow
def test_samples_can_be_drawn_at_a_temperature(prepared, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", str(FOLDER / "nice_digits.py"), *DENSE, "--run", run]) == 0
    assert main(["sample", run, "--n", "4", "--temperature", "0.7", "--out", str(tmp_path / "samples.png")]) == 0
    assert (tmp_path / "samples.png").stat().st_size > 500
    assert main(["sample", run, "--temperature", "0"]) == 2
    assert "temperature" in capsys.readouterr().err
