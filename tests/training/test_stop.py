"""Rules that end a run: what they say of a log, and that a run stops by them wherever it was resumed."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest
from training.problems import ToyResident, equal, line_data, regression

from vifx.training import Checkpoints, Stop, converged, descend, fit, patience


def rows(**columns):
    """A log with a row for every value; NaN counts as a value, None as none."""
    length = len(next(iter(columns.values())))
    pairs = [{name: values[i] for name, values in columns.items() if values[i] is not None} for i in range(length)]
    return [{"step": 10 * (i + 1), **row} for i, row in enumerate(pairs)]


def test_converged_compares_the_gain_of_an_update_with_the_tolerance():
    rule = converged("objective", tolerance=0.1)
    log = rows(objective=[-9.0, -7.0, None, -5.1, -5.3])
    assert rule.reason([]) == rule.reason(log[:1]) == ""
    assert rule.reason(log[:2]) == ""  # 0.2 an update
    assert rule.reason(log[:3]) == ""  # the last row does not have it
    assert rule.reason(log[:4]) == "objective gained 0.095 an update, less than 0.1"  # 1.9 over 20 updates
    assert rule.reason(log[:4], log[4]) == "objective gained -0.02 an update, less than 0.1"
    assert converged("objective", tolerance=0.3).reason(log[:2]) != ""


def test_of_several_starts_each_must_have_converged():
    names = {"start/0/objective": [-2.0, -2.0], "start/1/objective": [-3.0, -1.5]}
    log = rows(start=[0, 1], objective=[-2.0, -1.5], **names)
    assert converged("objective", tolerance=0.1).reason(log) == ""
    assert converged("objective", tolerance=0.2).reason(log) == "objective gained 0.15 an update, less than 0.2"


def test_a_value_that_starts_anew_is_not_compared():
    log = rows(**{"objective": [-2.0, -2.5, -2.5], "anew/objective": [0, 1, 0]})
    rule = converged("objective", tolerance=0.1)
    assert [bool(rule.reason(log[: i + 1])) for i in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("metric", "values", "stops"),
    [
        ("loss", [3.0, 2.0, 2.5, 2.0, 1.9, 2.0, 2.1], [0, 0, 0, 1, 0, 0, 1]),
        ("-loss", [3.0, 2.0, 4.0, np.nan, 4.0, 5.0], [0, 0, 0, 0, 1, 0]),
        ("loss", [3.0, None, 4.0, None, 4.0], [0, 0, 0, 0, 1]),
        ("loss", [np.nan, np.nan, np.nan, 1.0], [0, 0, 1, 0]),
    ],
)
def test_patience_counts_evaluations_since_the_best(metric, values, stops):
    rule, log = patience(metric, evaluations=2), rows(loss=values)
    assert [bool(rule.reason(log[: i + 1])) for i in range(len(log))] == list(map(bool, stops))


def test_what_cannot_be_a_rule_is_refused():
    for tolerance in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="tolerance must be a finite number > 0"):
            converged("objective", tolerance=tolerance)
    with pytest.raises(ValueError, match="evaluations must be an integer ≥ 1"):
        patience("loss", evaluations=0)
    with pytest.raises(TypeError, match="must be the name of a metric"):
        patience(3, evaluations=1)
    with pytest.raises(TypeError, match="metric must be the name of a metric"):
        Stop(3, str)


@functools.cache
def problem():
    objective = regression()
    return descend(objective, "model", optax.sgd(0.05)), objective, ToyResident(line_data(), 40)


def run(steps, **options):
    return fit(jax.random.key(1), *problem(), steps=steps, **{"log_every": 10, "checkpoint_every": 50, **options})


def falls(name="bias"):
    """A rule of one's own: any function of the rows."""
    return Stop(name, lambda found: "below 0.01" if abs(next(found)[name]) < 0.01 else "")


def test_a_stopped_run_ends_like_one_of_so_many_steps_and_is_complete(tmp_path):
    """Its end is evaluated and saved; interrupted and resumed before, it stops at the same update, to the bit."""
    events = []
    options = {"evaluate": lambda s: {"validation/step": float(s.step)}, "best": "validation/step", "stop": falls()}
    stopped = run(1000, directory=tmp_path / "one", observe=events.append, **options)
    at = int(stopped.train_state.step)
    assert 30 < at < 1000
    assert at % 50  # no checkpoint was due
    assert stopped.stopped == "below 0.01" == events[-1].message
    assert (events[-1].kind, events[-1].step, events[-2].kind) == ("end", at, "checkpoint")
    assert [row["step"] for row in stopped.history if "validation/step" in row] == [*range(50, at, 50), at]
    whole = run(at, **{**options, "stop": None})
    assert equal(whole.train_state, stopped.train_state)
    assert whole.history == stopped.history
    assert whole.stopped == ""
    run(20, directory=tmp_path / "two", **{**options, "evaluate_every": 1000, "best": None, "evaluate": None})
    resumed = run(1000, directory=tmp_path / "two", stop=falls())
    assert equal(resumed.train_state, stopped.train_state)
    again = run(2000, directory=tmp_path / "one", observe=events.append, **options)
    assert (events[-1].kind, events[-2].kind, events[-1].message) == ("end", "start", "below 0.01")
    assert equal(again.train_state, stopped.train_state)
    assert again.history == stopped.history
    with Checkpoints(tmp_path / "one" / "checkpoints", write=False) as checkpoints:
        assert checkpoints.steps()[-1] == at
    assert "stopped: below 0.01" in repr(stopped)


def test_early_stopping_keeps_the_best_checkpoint(tmp_path):
    """The measured value is smallest at update 30, and three evaluations later the run ends."""
    fitted = run(
        500,
        directory=tmp_path,
        evaluate=lambda train_state: {"validation/loss": abs(float(train_state.step) - 30)},
        evaluate_every=10,
        checkpoint_every=10,
        best="validation/loss",
        stop=patience("validation/loss", evaluations=3),
    )
    assert int(fitted.train_state.step) == 60
    assert fitted.stopped == "validation/loss has not improved in 3 evaluations since update 30, when it was 0"
    with Checkpoints(tmp_path / "checkpoints", best="validation/loss", write=False) as checkpoints:
        assert checkpoints.best_step() == 30


def test_an_unknown_metric_to_stop_by_is_refused_before_anything_is_logged(tmp_path):
    with pytest.raises(ValueError, match="unknown metric for stop 'los/model'; did you mean 'loss/model'"):
        run(30, stop=converged("los/model", tolerance=0.1), directory=tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    with pytest.raises(TypeError, match=r"stop must be a rule, .* training.converged"):
        run(30, stop="loss/model")
