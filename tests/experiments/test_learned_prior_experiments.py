"""Every experiment with codes, or with a prior that is learned, builds, trains, measures and draws, small."""

from __future__ import annotations

import pytest
from experiments.conftest import finished

from vifx import data

SMALL = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2", "--evaluate-every", "2"]
SMALL += ["--data.batch-size", "20", "--data.name", "digits", "--data.validation", "20"]
CODES = [*SMALL, "--channels", "4", "8", "--prior-features", "4", "--prior-depth", "1"]
LEARNED = [*CODES, "--codes", "5", "--features", "3", "--revive", "1"]
DENSE = [*SMALL, "--hidden", "8", "--latent", "3"]
VAMP = [*DENSE, "--components", "6", "--bound-examples", "4"]
LATENT = [*DENSE, "--denoiser", "8", "--sampler-steps", "2"]
CASES = {
    "vq_fashion_mnist": (LEARNED, ["kl/k", "codes/perplexity", "codes/dead"]),
    "vq_fashion_mnist fixed": (
        [*CODES, "--quantization", "finite_scalar", "--levels", "3", "2", "--likelihood", "discretized_logistic"],
        ["kl/k", "codes/dead"],
    ),
    "vamp_fashion_mnist": (VAMP, ["kl/z_sampled"]),
    "vamp_fashion_mnist mixture": ([*VAMP, "--prior", "mixture"], ["kl/z_sampled"]),
    "vamp_fashion_mnist normal": ([*VAMP, "--prior", "normal"], ["kl/z"]),
    "latent_diffusion_fashion_mnist": (LATENT, ["kl/z_sampled", "kl/z/steps", "kl/e_sampled"]),
    "latent_diffusion_fashion_mnist two stages": ([*LATENT, "--no-end-to-end"], ["kl/z/steps"]),
}
QUICK = "vq_fashion_mnist"


@pytest.fixture
def prepared(tmp_path_factory, monkeypatch):
    """Prepared digits."""
    folder = tmp_path_factory.getbasetemp() / "learned_prior_data"
    monkeypatch.setenv("VIFX_DATA", str(folder))
    folder.mkdir(exist_ok=True)
    data.prepare(data.Config("digits"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in CASES]
)
def test_trains_to_the_end(case, prepared, tmp_path, capsys):
    arguments, measured = CASES[case]
    rows, found, drawn, _ = finished(case.split()[0], arguments, tmp_path, capsys)
    assert [row["step"] for row in rows] == [2, 4]
    assert set(measured) <= set(found)
    terms = [found[name] for name in found if name.split("/")[0] in ("kl", "nll") and name.count("/") == 1]
    assert found["elbo"] == pytest.approx(-sum(terms), rel=1e-4)
    assert drawn >= {"samples", "reconstructions"}
