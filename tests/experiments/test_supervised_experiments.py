"""Every experiment with a classifier builds, trains, measures and draws with each regularizer, with small numbers."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, experiment
from vifx.cli import main
from vifx.experiment.file import Experiment
from vifx.training import Progress, read_metrics

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(path.stem for path in FOLDER.glob("classifier_*.py"))
SMALL = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2", "--evaluate-every", "2", "--hidden", "8"]
SMALL += ["--data.name", "digits", "--data.batch-size", "20", "--data.validation", "40", "--examples", "60"]
REGULARIZERS = ("mixup", "none", "sample_pairing", "spectral", "gradient", "weight_decay")
RUNS = [
    pytest.param(name, regularizer, marks=() if index == 0 and name == "classifier_digits" else pytest.mark.thorough)
    for name in FILES
    for index, regularizer in enumerate(REGULARIZERS)
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "regularizer"), RUNS)
def test_trains_to_the_end_and_prints_its_calibration(name, regularizer, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIFX_DATA", str(folder))
    run = tmp_path / "run"
    code = main(["train", str(FOLDER / f"{name}.py"), *SMALL, "--regularizer", regularizer, "--run", str(run)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    extra = {"spectral": "lipschitz/spectral", "gradient": "penalty/gradient_norm"}
    assert {metric for metric in extra.values() if metric in rows[0]} == {extra.get(regularizer)} - {None}
    found = json.loads((run / "results.json").read_text())["metrics"]
    assert 0 <= found["accuracy"]["value"] <= 1
    assert 0 < found["calibration_error"]["value"] < 1
    assert found["nll/y/tempered"]["value"] < found["nll/y"]["value"] + 1
    assert set(found) >= {f"accuracy/noise_{size}" for size in ("0.05", "0.1", "0.2", "0.4")}
    assert {path.stem for path in (run / "figures").iterdir()} == {
        *("evidence", "reliability", "noise", "validation", "loss"),
    }
    assert "15 bins of equal mass" in shown.out


def build(name, folder, **values) -> Experiment:
    file = experiment.load(FOLDER / f"{name}.py")
    config = file.config(data=data.Config("digits", batch_size=8, directory=str(folder)), hidden=(4,), **values)
    return file.build(config)


def minibatch(built, key=None):
    source = built.source
    key = jax.random.key(1) if key is None else key
    return source.take(key, source.arrays, source.window(0, 1), 0)


@pytest.mark.thorough
@pytest.mark.parametrize("name", FILES)
def test_the_evidence_is_the_one_that_was_asked_for(name, folder):
    plain = minibatch(build(name, folder))
    mixed = minibatch(build(name, folder, regularizer="mixup", alpha=1.0))
    paired = minibatch(build(name, folder, regularizer="sample_pairing", paired=1.0))
    assert jnp.issubdtype(plain["y"].dtype, jnp.integer)
    np.testing.assert_allclose(jnp.sum(mixed["y"], axis=1), 1, rtol=1e-6)
    own = np.take_along_axis(np.asarray(mixed["y"]), np.asarray(plain["y"])[:, None], axis=1)[:, 0]
    changed = np.abs(np.asarray(mixed["x"] - plain["x"])).max(axis=(1, 2, 3)) > 1e-6
    assert changed[own < 0.999].all()
    assert (own < 0.999).sum() >= 4
    np.testing.assert_allclose(jnp.mean(paired["x"], axis=0), jnp.mean(plain["x"], axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(paired["y"], plain["y"])


@pytest.mark.thorough
@pytest.mark.parametrize(("regularizer", "weight"), [("spectral", "spectral_weight"), ("gradient", "gradient_weight")])
def test_a_penalty_is_its_formula(regularizer, weight, folder):
    """The loss of the step is −log q(y | x) plus the penalty, by singular values and by the joint's gradient."""
    built = build("classifier_digits", folder, regularizer=regularizer, **{weight: 0.3})
    batch = minibatch(built)
    params, state = jax.jit(built.objective.init)(jax.random.key(0), batch)
    slot = built.step.init(jax.random.key(2), params, state)
    _, metrics = jax.jit(built.step.update)(jax.random.key(3), Progress(params, state, slot), batch)
    if regularizer == "spectral":
        kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
        penalty = 0.3 * sum(np.linalg.norm(kernel, 2) ** 2 for kernel in kernels)
        assert float(metrics["loss/model"] - metrics["nll/y"]) == pytest.approx(penalty, rel=0.05)
    else:

        def log_prob(x):
            return sum(built.generative.log_prob(params, state, {"x": x, "y": batch["y"]}).values()).sum()

        slope = np.asarray(jax.grad(log_prob)(batch["x"])).reshape(8, -1)
        penalty = 0.3 / 2 * np.mean(np.sum(slope**2, axis=1))
        assert float(metrics["loss/model"] - metrics["nll/y"]) == pytest.approx(penalty, rel=1e-3)


def test_weight_decay_shrinks_the_parameters_by_its_rate(folder):
    runs = [
        build("classifier_digits", folder, regularizer=name, decay=10.0, learning_rate=1e-3)
        for name in ("none", "weight_decay")
    ]
    batch = minibatch(runs[0])
    params, state = jax.jit(runs[0].objective.init)(jax.random.key(0), batch)
    found = [
        jax.jit(built.step.update)(
            jax.random.key(3), Progress(params, state, built.step.init(jax.random.key(2), params, state)), batch
        )[0].params
        for built in runs
    ]
    difference = jax.tree.map(lambda a, b: np.asarray(a - b), *found)
    jax.tree.map(
        lambda change, old: np.testing.assert_allclose(change, 0.01 * np.asarray(old), rtol=1e-3, atol=1e-6),
        dict(difference),
        dict(params),
    )


def test_examples_are_a_subset(folder):
    few, all_of_them = (build("classifier_digits", folder, examples=count) for count in (50, None))
    assert len(few.source.arrays["y"]) == 50
    assert len(all_of_them.source.arrays["y"]) == len(all_of_them.splits.train["y"])
    rows = {row.tobytes() for row in np.asarray(all_of_them.splits.train["x"])}
    assert all(row.tobytes() in rows for row in np.asarray(few.source.arrays["x"]))


def test_what_is_explained_needs_no_data_whatever_the_number_of_examples(capsys):
    assert main(["explain", str(FOLDER / "classifier_fashion_mnist.py"), "--examples", "6000"]) == 0
    assert "4. KL = L − H(p̃(y | x)) ≥ 0" in capsys.readouterr().out
