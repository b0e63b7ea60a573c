"""Every adversarial experiment builds, trains, measures and draws: a full run's code, with small numbers.

Those that take longest, and the variants, are behind the marker `slow`. Images are 8×8 digits here, whatever the
experiment's own, and the feature network is a fixed random projection: the real one has tests of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
from experiments.conftest import FOLDER, finished

from vifx import data
from vifx.cli import main
from vifx.evaluation import Features
from vifx.experiment import generator, sample_quality

STEPS = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2"]
IMAGES = [*STEPS, "--data.name", "digits", "--data.batch-size", "10"]
IMAGES += ["--data.validation", "40", "--quality-examples", "40"]
PLANE = [*STEPS, "--data.batch-size", "20", "--data.validation", "40"]
CASES = {
    "aae_fashion_mnist": (IMAGES, [["--hidden", "16"]]),
    "ali_fashion_mnist": (IMAGES, [["--form", "truncated"]]),
    "avb_digits": (IMAGES, [["--hidden", "16"]]),
    "cgan_digits": (IMAGES, [[], ["--critic", "concatenated"]]),
    "dcgan_fashion_mnist": (IMAGES, [[], ["--setting", "plain", "--proximal", "0"]]),
    "gan_digits": (IMAGES, [["--divergence", "pearson"], ["--proximal", "5", "--updates", "2"]]),
    "sngan_fashion_mnist": (IMAGES, [[], ["--network", "resnet"]]),
    "vaegan_digits": (IMAGES, [["--hidden", "16"]]),
    "wae_digits": (IMAGES, [["--hidden", "16"]]),
    "wgan_gp_fashion_mnist": (IMAGES, [["--critic-turns", "2"]]),
    "ali_grid25": (PLANE, [["--hidden", "16"], ["--hidden", "16", "--form", "full"]]),
    "gan_grid25": (PLANE, [["--hidden", "16"]]),
    "gan_ring": (PLANE, [["--hidden", "16", "--divergence", "hinge"]]),
    "fgan_gaussian": (PLANE, [["--divergence", "pearson"], ["--divergence", "jeffreys", "--critic", "bound"]]),
}
QUICK = ("aae_fashion_mnist", "cgan_digits", "fgan_gaussian", "gan_digits", "gan_grid25", "wae_digits")
RUNS = [
    pytest.param(name, small, extra, marks=() if name in QUICK and not index else pytest.mark.slow)
    for name, (small, extras) in CASES.items()
    for index, extra in enumerate(extras)
]
FAMILIES = (
    *("absorbing", "diffusion", "vamp", "vq"),
    *("vae", "iwae", "hvae", "cvae", "nice", "realnvp", "spline", "maf", "bnaf", "glow", "fvae"),
    *("flow", "gmm", "bernoulli", "ppca", "hmm", "deep", "classifier", "dgcnn", "lds", "gru", "latent", "ode"),
)


def project(images):
    """Sixteen fixed random projections of images in [0, 1]."""
    pixels = np.asarray(images, np.float64).reshape(len(images), -1)
    pixels = pixels / 255 if np.asarray(images).dtype == np.uint8 else pixels
    return pixels @ np.random.default_rng(0).standard_normal((pixels.shape[1], 16))


@pytest.fixture
def prepared(tmp_path_factory, monkeypatch):
    """Prepared digits, and the projection in the place of the feature network."""
    folder = tmp_path_factory.getbasetemp() / "adversarial_data"
    monkeypatch.setenv("VIFX_DATA", str(folder))
    folder.mkdir(exist_ok=True)
    data.prepare(data.Config("digits"))
    for module in (generator, sample_quality):
        monkeypatch.setattr(module, "features_of", lambda config: Features(project, "0" * 12, 1.0))


def test_every_adversarial_experiment_is_tried():
    names = {path.stem for path in FOLDER.glob("*.py") if path.stem.split("_")[0] not in FAMILIES}
    assert names == set(CASES) | {"gan"}


@pytest.mark.first(1)
@pytest.mark.parametrize(("name", "small", "extra"), RUNS, ids=lambda value: value if isinstance(value, str) else "")
def test_trains_to_the_end(name, small, extra, prepared, tmp_path, capsys):
    often = [] if name == "fgan_gaussian" or small is PLANE else ["--evaluate-every", "2"]
    rows, found, drawn, shown = finished(name, [*small, *often, *extra], tmp_path, capsys)
    assert [row["step"] for row in rows] == [2, 4]
    if small is IMAGES:
        assert found["fmd"] > 0
        assert 0 <= found["coverage"] <= 1
        assert drawn >= {"samples", "training", "loss"}
    elif name == "fgan_gaussian":
        assert found["scale"] > 0
        assert drawn >= {"density", "loss"}
    else:
        assert 0 <= found["modes"] <= 25
        assert drawn >= {"modes", "training", "quality", "loss"}
    assert ("critic/accuracy" in rows[-1]) == (not any(word in name for word in ("wae", "wgan")))
    assert "warning" not in shown.err


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
def test_one_update_a_phase_warns_in_one_line(prepared, tmp_path, capsys):
    options = [*IMAGES, "--evaluate-every", "2", "--proximal", "5", "--run", str(tmp_path / "run")]
    assert main(["train", str(FOLDER / "gan_digits.py"), *options]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "makes one update a turn" in warnings[0]


@pytest.mark.thorough
def test_explains_ali_with_its_form(prepared, capsys):
    assert main(["explain", str(FOLDER / "ali_fashion_mnist.py"), *IMAGES, "--form", "truncated"]) == 0
    shown = capsys.readouterr().out
    assert "E_A[−log D] + E_B[−log D] + KL(B ‖ B°) + E_B log A°/A   (8)" in shown
    assert "NOT a descent direction for p̃(x) · encoder(z | x)" in shown
    assert "z: 1 draw, reparameterized; x: deterministic map" in shown


def test_a_wrong_divergence_is_one_line(prepared, capsys):
    assert main(["train", str(FOLDER / "gan_digits.py"), "--divergence", "pearsen"]) == 2
    assert "did you mean 'pearson'?" in capsys.readouterr().err.replace("\n", " ")
