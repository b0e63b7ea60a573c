"""Every EM experiment builds, trains, measures and draws: a full run's code, with small numbers.

Those that take longest, and the variants, are behind the marker `slow`. Images are 8×8 digits here, whatever the
experiment's own.
"""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments.conftest import FOLDER, finished, prepare_twonorm
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from vifx import data, experiment, training
from vifx.cli import main

FAMILIES = ("gmm", "bernoulli", "ppca", "hmm", "lds", "deep")
STEPS = ["--steps", "6", "--log-every", "1", "--checkpoint-every", "3", "--evaluate-every", "3"]
EM = [*STEPS, "--restarts", "2", "--start-steps", "2", "--chunk", "500"]
DIGITS = [*EM, "--data.name", "digits", "--components", "4", "--components-tried"]
TRIED = ["--components-tried", "2", "3"]
DEEP = [*STEPS, "--components", "4", "--hidden", "8", "--data.batch-size", "50"]
CASES = {
    "gmm_digits": (
        [*DIGITS, "--features", "6"],
        [[], ["--features", "dequantized", "--covariance", "diagonal", *TRIED], ["--covariance", "tied"]],
    ),
    "gmm_fashion_mnist": ([*DIGITS, "--features", "5"], [[], ["--covariance", "spherical"]]),
    "gmm_twonorm": ([*EM, "--components-tried"], [[], [*TRIED, "--covariance", "full"]]),
    "bernoulli_mixture_digits": (DIGITS, [TRIED, ["--start", "k-means"]]),
    "ppca_digits": ([*DIGITS, "--latent", "2"], [["--components", "1"], []]),
    "hmm_casino": (EM, [[]]),
    "lds_tracking": (EM, [[], ["--parallel"]]),
    "deep_em_digits": (DEEP, [["--inner", "3"], []]),
}
QUICK = ("gmm_digits", "hmm_casino")
RUNS = [
    pytest.param(name, small, extra, marks=pytest.mark.thorough if name in QUICK and not index else pytest.mark.slow)
    for name, (small, extras) in CASES.items()
    for index, extra in enumerate(extras)
]


@pytest.fixture
def prepared(tmp_path_factory, monkeypatch):
    """Prepared digits, and a small table."""
    folder = tmp_path_factory.getbasetemp() / "em_data"
    monkeypatch.setenv("VIFX_DATA", str(folder))
    folder.mkdir(exist_ok=True)
    data.prepare(data.Config("digits"))
    prepare_twonorm(folder)


def test_every_em_experiment_is_tried():
    assert {path.stem for path in FOLDER.glob("*.py") if path.stem.split("_")[0] in FAMILIES} == set(CASES) | {"gmm"}


@pytest.mark.parametrize(("name", "small", "extra"), RUNS, ids=lambda value: value if isinstance(value, str) else "")
def test_trains_to_the_end(name, small, extra, prepared, tmp_path, capsys):
    rows, found, drawn, shown = finished(name, [*small, *extra], tmp_path, capsys)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert f"log_prob {rows[-1]['log_prob']:.4f}" in shown.out
    assert np.isfinite(found["log_prob/test"])
    if name == "deep_em_digits":
        assert found["log_prob/test/mixture"] > found["log_prob/test"]  # six turns of the decoder are few
        assert drawn >= {"means", "members", "samples", "loss"}
        return
    gains = np.diff([row["objective"] for row in rows])
    assert (gains > -5e-4).all()
    assert gains.sum() > 0 or "1" in extra
    assert found["log_prob/train"] >= rows[-1]["log_prob"] - 1e-3
    count = {"hmm_casino": 90, "lds_tracking": 90, "gmm_twonorm": 216}.get(name, 1293)
    bic = found["parameters"] * np.log(count) - 2 * count * found["log_prob/train"]
    assert found["bic"] == pytest.approx(bic, rel=1e-6)
    assert found["aic"] == pytest.approx(bic + found["parameters"] * (2 - np.log(count)), rel=1e-5, abs=1)
    assert "Bayesian information criterion" in shown.out
    if name == "hmm_casino":
        assert found["log_prob/test/true"] > found["log_prob/test"]
        assert 0.5 < found["state_accuracy"] <= 1
        assert drawn >= {"dice", "timeline", "likelihood", "components", "loss"}
        return
    if name == "lds_tracking":
        assert found["log_prob/test/true"] > found["log_prob/test"]
        assert 0.8 < found["coverage/seen"] <= 1
        assert drawn >= {"tracks", "likelihood", "loss"}
        assert "components" not in drawn
        return
    if name == "gmm_twonorm":
        assert found["kl/true"] == pytest.approx(found["log_prob/test/true"] - found["log_prob/test"], rel=1e-6)
        assert drawn >= {"projection", "likelihood", "components", "loss"}
        return
    assert ("bic/2" in found) == ("choice" in drawn) == ("3" in extra)
    if "3" in extra:
        assert found["bic/2"] > found["bic/3"]
    expected = {"directions", "codes", "reconstructions"} if "ppca" in name else {"means", "members"}
    assert drawn >= {*expected, "samples", "loss"}


@pytest.mark.slow
def test_a_run_that_was_stopped_continues_to_the_same_numbers(prepared, tmp_path, capsys):
    file, options = str(FOLDER / "gmm_digits.py"), CASES["gmm_digits"][0]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert main(["train", file, *options, "--run", str(whole)]) == 0
    assert main(["train", file, *options, "--steps", "3", "--run", str(halves)]) == 0
    assert main(["resume", str(halves), "--steps", "6"]) == 0
    capsys.readouterr()
    assert (whole / "metrics.jsonl").read_bytes() == (halves / "metrics.jsonl").read_bytes()
    one, other = (json.loads((run / "results.json").read_text())["metrics"] for run in (whole, halves))
    for name in one.keys() - {"iteration_time"}:
        assert one[name]["value"] == other[name]["value"]


def build(name, monkeypatch, tmp_path, **values):
    file = experiment.load(FOLDER / f"{name}.py")
    return file.build(file.config(**values))


@pytest.mark.thorough
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_each_iteration_has_scikit_learns_likelihood(covariance, prepared, x64, monkeypatch, tmp_path):
    """From the start that the experiment chooses, in double precision, 1e-6 nats an example."""
    built = build(
        "gmm_digits", monkeypatch, tmp_path, covariance=covariance, components=5, features=8, restarts=2, floor=1e-9
    )
    x = built.splits.train["x"].astype(np.float64)
    batch = {"x": jnp.asarray(x)}
    params, state = jax.jit(built.objective.init)(jax.random.key(1), batch)
    own = params["components"]
    if covariance == "full":
        precision = np.linalg.inv(np.einsum("kij,klj->kil", own["scale_tril"], own["scale_tril"]))
    else:
        precision = 1 / np.asarray(own["scale"]) ** 2
    oracle = GaussianMixture(
        5,
        covariance_type={"full": "full", "diagonal": "diag"}[covariance],
        weights_init=np.exp(params["weights"]["logits"][0]),
        means_init=np.asarray(own["mean"]),
        precisions_init=precision,
        max_iter=1,
        warm_start=True,
        tol=0,
        reg_covar=0,
    )
    update = jax.jit(built.step.update)
    progress = training.Progress(params, state, ())
    for i in range(6):
        with pytest.warns(ConvergenceWarning):
            oracle.fit(x)
        progress, metrics = update(jax.random.fold_in(jax.random.key(0), i), progress, batch)
        assert float(metrics["log_prob"]) == pytest.approx(oracle.lower_bound_, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gmm_digits", ["--components", "0"], "components must be a positive integer"),
        ("gmm_digits", ["--components", "2000"], "2000 components needs at least as many examples"),
        ("gmm_digits", ["--components-tried", "3", "5000"], "5000 components needs at least as many examples"),
        ("gmm_digits", ["--components-tried", "3", "3"], "components_tried must be different numbers"),
        ("gmm_digits", ["--covariance", "round"], "covariance"),
        ("gmm_digits", ["--features", "65"], "features must be an integer from 1 to 64"),
        ("ppca_digits", ["--latent", "64"], "latent=64 must be less than the 64 features"),
        ("gmm_twonorm", ["--data.name", "digits"], "name must be a mixture of Gaussians"),
        ("hmm_casino", ["--data.name", "digits"], "data.name must be 'casino'"),
        ("hmm_casino", ["--components-tried", "3"], "components_tried must be empty"),
        ("lds_tracking", ["--data.name", "casino"], "data.name must be 'tracking'"),
        ("lds_tracking", ["--components-tried", "3"], "components_tried must be empty"),
        ("deep_em_digits", ["--inner", "0"], "inner must be a positive integer"),
    ],
)
def test_a_bad_option_is_one_line(name, options, message, prepared, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(FOLDER / f"{name}.py"), *options, "--run", str(run)]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not run.exists()
