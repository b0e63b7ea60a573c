"""A run opened from Python does what its model does, and goes on as the command would."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cli.conftest import leaves

import vifx
from vifx.training import CheckpointError

FLOW = '''"""A tiny flow on points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import optax

import vifx
from vifx import data, flows, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveInt


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options."""

    steps: PositiveInt = 3
    log_every: PositiveInt = 1


def build(config):
    """Build it."""
    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    splits = data.from_arrays(train={"x": points[:30]}, test={"x": points[30:]}, validation=0)
    flow = flows.chain(flows.scale(shift=True))
    inference = vifx.Joint(vifx.evidence("x"))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), flow, name="flow"))
    objective = vifx.kl(inference, generative)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(1e-1)),
        source=data.Resident(splits.train, 10, config.seed),
        splits=splits,
        inference=inference,
        generative=generative,
    )
'''


@pytest.fixture
def opened(copied):
    copied("run")
    return vifx.open("run")


def test_an_open_run_has_its_config_joints_parameters_and_log(opened):
    assert repr(opened) == f"OpenRun('run', tiny, after {opened.step} updates)"
    assert opened.config.latent == 2
    assert str(opened.inference) == "p̃(x) · encoder(z | x)"
    assert opened.steps == [4, 8]
    assert [row["step"] for row in opened.history] == [2, 4, 6, 8]
    best = min((row for row in opened.history if "validation/loss" in row), key=lambda row: row["validation/loss"])
    assert opened.step == best["step"]
    assert opened.at("last").step == 8
    assert opened.at(4).step == 4
    assert {"elbo", "iwae/4"} <= opened.metrics.keys()
    assert "samples" in opened.figures
    shown = opened._repr_html_()
    assert "tiny, after" in shown
    assert shown.count("data:image/png;base64,") == min(4, len(opened.figures))


@pytest.mark.thorough
def test_codes_and_what_they_stand_for_are_those_of_the_joints(opened):
    x = np.concatenate([opened.experiment.splits.test["x"]] * 40)  # more than are taken at a time
    run = opened.at("last")
    key = jax.random.key(0)
    drawn = run.inference.sample(key, run.params, run.state, {"x": jnp.asarray(x)})
    codes = run.encode(x)
    np.testing.assert_allclose(codes, drawn.conditionals["z"].mean, rtol=1e-5, atol=1e-6)
    assert np.abs(run.encode(x, seed=1) - codes).max() > 0.1
    again = run.generative.sample(key, run.params, run.state, fixed={"z": jnp.asarray(codes)}, examples=len(x))
    np.testing.assert_allclose(run.decode(codes), again.conditionals["x"].mean, rtol=1e-5, atol=1e-6)
    assert set(np.unique(run.decode(codes[:9], seed=1))) == {0.0, 1.0}


@pytest.mark.thorough
def test_samples_are_those_of_the_experiment(opened):
    expected = opened.experiment.sample(jax.random.key(3), opened.params, opened.state, 5, 0.5)
    np.testing.assert_array_equal(opened.sample(5, temperature=0.5, seed=3), expected)


@pytest.mark.thorough
def test_bounds_have_the_mean_that_was_measured_and_exact_likelihoods_are_refused(opened):
    x = opened.experiment.splits.test["x"]
    one, many = (opened.bound(x, samples=samples, seed=1) for samples in (1, 200))
    assert one.shape == many.shape == (20,)
    assert many.mean() > one.mean()
    spread = one.std() / len(one) ** 0.5
    assert abs(one.mean() - opened.metrics["elbo"]) < 5 * spread
    with pytest.raises(ValueError, match=r"not known exactly: there is an encoder; run.bound\(x, samples=100\)"):
        opened.log_prob(x)


@pytest.mark.thorough
def test_the_likelihood_of_a_flow_is_its_density(tmp_path, monkeypatch, vifx_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(FLOW)
    assert vifx_command("train", "flow.py", "--run", "run").code == 0
    run = vifx.open("run")
    x = run.experiment.splits.test["x"]
    expected = run.generative.log_prob(run.params, run.state, {"x": jnp.asarray(x)})
    np.testing.assert_allclose(run.log_prob(x), sum(expected.values()), rtol=1e-5)
    assert run.sample(7).shape == (7, 2)
    assert vifx_command("sample", "run", "--n", "7", "--out", "x.npy").code == 0
    np.testing.assert_array_equal(np.load("x.npy"), run.sample(7))
    refused = vifx_command("sample", "run", "--out", "x.png")
    assert refused.code == 2
    assert refused.message.startswith("--out must be NAME.npy for flow; got 'x.png'")
    refused = vifx_command("train", "flow.py", "--patience", "2")
    assert refused.code == 2
    assert "--patience must be left out here: no metric of this experiment marks the best checkpoint" in refused.message
    with pytest.raises(ValueError, match=r"use run.log_prob\(x\)"):
        run.bound(x)
    with pytest.raises(ValueError, match="no latent"):
        run.encode(x)
    with pytest.raises(ValueError, match="nothing to decode"):
        run.decode(x)


@pytest.mark.thorough
def test_going_on_from_python_is_going_on_from_the_command(copied, tmp_path, vifx_command):
    copied("here")
    copied("there")
    assert vifx_command("resume", "there", "--steps", "14").code == 0
    longer = vifx.open("here").resume(steps=14)
    assert longer.step == 14
    assert leaves(tmp_path / "here") == leaves(tmp_path / "there")
    assert (tmp_path / "here" / "metrics.jsonl").read_bytes() == (tmp_path / "there" / "metrics.jsonl").read_bytes()
    assert vifx.open("here").config.steps == 14


def test_what_cannot_be_opened_or_asked_says_so(opened, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run directory"):
        vifx.open(tmp_path)
    with pytest.raises(TypeError, match="open: directory must be a path"):
        vifx.open(3)
    with pytest.raises(CheckpointError, match="has no checkpoint of step 7; there are"):
        opened.at(7)
    with pytest.raises(ValueError, match="unknown checkpoint 'worst'"):
        opened.at("worst")
    with pytest.raises(ValueError, match=r"the evidence is \['x'\], and \['x'\] is missing"):
        opened.encode({"y": np.zeros((2, 4, 4, 1))})
    with pytest.raises(ValueError, match="are no variables of"):
        opened.decode({"w": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="extend a run"):
        opened.resume(steps=2)
    for call in (
        lambda: opened.sample(0),
        lambda: opened.sample(1, temperature=0.0),
        lambda: opened.bound(0, samples=0),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()


@pytest.mark.thorough
def test_the_command_takes_the_last_the_best_or_any_checkpoint(copied, vifx_command):
    copied("run")
    assert "checkpoint of update 8" in vifx_command("evaluate", "run", "--step", "last").out
    assert "checkpoint of update 4" in vifx_command("evaluate", "run", "--step", "4").out
    refused = vifx_command("evaluate", "run", "--step", "worst")
    assert refused.code == 2
    assert "--step" in refused.message


@pytest.mark.thorough
def test_patience_ends_a_run_and_a_resumed_one_at_the_same_update(tiny, tmp_path, vifx_command):
    """With a step size at which the loss rises, the first evaluation stays the best."""
    options = ("--learning-rate", "3", "--steps", "60", "--checkpoint-every", "2", "--patience", "2")
    result = vifx_command("train", tiny, "--run", "run", *options)
    assert result.code == 0
    rows = vifx.open("run").history
    losses = [row["validation/loss"] for row in rows]
    best = losses.index(min(losses))
    assert len(rows) == best + 3 < 30
    assert f"stopped after update {rows[-1]['step']}: validation/loss has not improved in 2 evaluations" in result.out
    assert vifx_command("resume", "run").code == 0
    assert vifx.open("run").history == rows
