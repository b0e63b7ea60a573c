"""Alarms against a definition written out naively, and in runs that fall, stop and go on."""

from __future__ import annotations

import functools
import math

import chex
import jax
import numpy as np
import optax
import pytest
from training.problems import ToyResident, line_data, regression

from vifx.training import Alarm, Checkpoints, descend, episodes, fit, raised
from vifx.training.alarm import missing

MODES = Alarm("validation/modes", "fallen", 0.7, rows=2, meaning="modes are lost; look at the samples.")


def log(values, metric="m", every=10):
    """Rows with a value each; None is a row without the metric."""
    return [
        {"step": every * i, "other": 0.0, **({} if value is None else {metric: value})}
        for i, value in enumerate(values, 1)
    ]


def naively(alarm, history):
    """The steps (since, step) at which an alarm goes off, by the definition, over all windows."""
    rows = [(row["step"], row[alarm.metric]) for row in history if not math.isnan(row.get(alarm.metric, math.nan))]
    holds = []
    for i, (_, value) in enumerate(rows):
        finite = [v for _, v in rows[: i + 1] if math.isfinite(v)]
        below = value < (alarm.limit if alarm.kind == "below" else alarm.limit * max(finite, default=-math.inf))
        above = value > (alarm.limit if alarm.kind == "above" else alarm.limit * min(finite, default=math.inf))
        holds.append(below if alarm.kind in ("below", "fallen") else above)
    found = []
    for end in range(alarm.rows - 1, len(rows)):
        begin = end - alarm.rows + 1
        if all(holds[begin : end + 1]) and not (begin > 0 and holds[begin - 1]):
            found.append((rows[begin][0], rows[end][0]))
    return found


@pytest.mark.parametrize(("kind", "limit"), [("above", 0.6), ("below", 0.4), ("fallen", 0.7), ("risen", 1.5)])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_goes_off_as_defined_once_an_episode(kind, limit, rows):
    rng = np.random.default_rng(rows)
    alarm = Alarm("m", kind, limit, rows=rows, meaning="it is so")
    total = 0
    for _ in range(30):
        levels = np.repeat(rng.uniform(0.05, 1.0, 12), rng.integers(1, 6, 12))
        values = [rng.choice([float(v), float(v), float(v), None, math.nan, math.inf]) for v in levels]
        history = log(values)
        expected = naively(alarm, history)
        total += len(expected)
        assert [(found.since, found.step) for found in episodes([alarm], history)] == expected
        row_by_row = [f for n in range(len(history) + 1) for f in raised([alarm], history[:n])]
        assert row_by_row == list(episodes([alarm], history))
    assert total > 20


def test_limits_themselves_are_allowed():
    values = [0.5] * 4
    assert episodes([Alarm("m", "above", 0.5, rows=1, meaning="x")], log(values)) == ()
    assert episodes([Alarm("m", "below", 0.5, rows=1, meaning="x")], log(values)) == ()
    assert episodes([Alarm("m", "fallen", 0.5, rows=1, meaning="x")], log([1.0, 0.5])) == ()
    assert episodes([Alarm("m", "risen", 2.0, rows=1, meaning="x")], log([1.0, 2.0])) == ()


def test_the_sentence_says_what_since_when_and_what_it_means():
    (found,) = episodes([MODES], log([8, None, 8, 5, None, 3, 3], metric="validation/modes", every=500))
    assert (found.since, found.step, found.value, found.reference) == (2000, 3000, 3.0, 8.0)
    assert found.sentence == (
        "validation/modes below 0.7 × its largest, 8, in 2 rows since update 2,000, now 3: "
        "modes are lost; look at the samples"
    )
    saturated = Alarm("critic/saturation", "above", 0.95, rows=1, meaning="the critic tells every sample apart")
    (found,) = episodes([saturated], log([0.5, 0.99], metric="critic/saturation"))
    assert found.sentence == (
        "critic/saturation above 0.95 in 1 row since update 20, now 0.99: the critic tells every sample apart"
    )


def test_several_alarms_are_in_the_order_of_steps():
    high = Alarm("m", "above", 2.0, rows=1, meaning="high")
    low = Alarm("m", "below", 1.0, rows=2, meaning="low")
    history = log([0.5, 0.5, 3.0, 0.5, 0.5, 0.5, 3.0])
    assert [(f.alarm.meaning, f.step) for f in episodes([high, low], history)] == [
        ("low", 20), ("high", 30), ("low", 50), ("high", 70),
    ]  # fmt: skip
    assert raised([high, low], []) == ()


def test_a_metric_that_is_not_there_is_named_with_the_nearest():
    alarms = [
        MODES,
        Alarm("validation/mode", "below", 1, rows=1, meaning="x"),
        Alarm("q", "above", 1, rows=1, meaning="x"),
    ]
    assert missing(alarms, [{"step": 1, "loss": 2.0}, {"step": 2, "validation/modes": 3}]) == (
        "validation/mode is not in the log, so its alarm is off; did you mean 'validation/modes'?",
        "q is not in the log, so its alarm is off",
    )


GOOD = {"metric": "m", "kind": "above", "limit": 1.0, "rows": 2, "meaning": "x"}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"metric": ""}, ValueError, "metric must be one line that is not empty, got ''"),
        ({"metric": 3}, TypeError, "metric must be a text, got 3"),
        ({"meaning": "a\nb"}, ValueError, "meaning must be one line"),
        ({"kind": "over"}, ValueError, "kind must be one of above, below, fallen, risen; got 'over'"),
        ({"limit": math.nan}, ValueError, "limit must be a finite number, got nan"),
        ({"limit": "1"}, TypeError, "limit must be a finite number, got '1'"),
        ({"limit": True}, TypeError, "limit must be a finite number, got True"),
        ({"kind": "fallen"}, ValueError, r"limit of 'fallen' must be a number in \(0, 1\), got 1.0"),
        ({"kind": "fallen", "limit": 0.0}, ValueError, r"in \(0, 1\), got 0.0"),
        ({"kind": "risen"}, ValueError, "limit of 'risen' must be a finite number > 1, got 1.0"),
        ({"rows": 0}, ValueError, "rows must be an integer ≥ 1, got 0"),
        ({"rows": 2.0}, TypeError, "rows must be an integer ≥ 1, got 2.0"),
    ],
)
def test_a_wrong_alarm_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        Alarm(**(GOOD | wrong))
    assert Alarm(**GOOD).rows == 2


# in a run


@functools.cache
def parts():
    objective = regression()
    return descend(objective, "model", optax.sgd(0.01)), objective, ToyResident(line_data(), 8, seed=3)


def falling(train_state):
    """Modes that grow to 8, fall at update 50, come back at 80 and fall again at 90."""
    step = int(train_state.step)
    return {"validation/modes": 2.0 if 50 <= step < 80 or step >= 90 else 8.0}


def run(steps, **kwargs):
    step, objective, source = parts()
    options = {"log_every": 5, "checkpoint_every": 20, "evaluate": falling, "evaluate_every": 10, "alarms": [MODES]}
    return fit(jax.random.key(1), step, objective, source, steps=steps, **options | kwargs)


def told(events):
    return [(event.step, event.message) for event in events if event.kind == "alarm"]


def test_a_run_whose_modes_fall_says_so_and_goes_on(tmp_path):
    events = []
    fitted = run(120, best="-validation/modes", directory=tmp_path, observe=events.append)
    assert int(fitted.train_state.step) == 120
    assert [(found.since, found.step) for found in episodes([MODES], fitted.history)] == [(50, 60), (90, 100)]
    message = "validation/modes below 0.7 × its largest, 8, in 2 rows since update {}, now 2: {}; {}"
    assert told(events) == [
        (60, message.format(50, "modes are lost; look at the samples", "best checkpoint so far: update 40")),
        (100, message.format(90, "modes are lost; look at the samples", "best checkpoint so far: update 80")),
    ]
    assert [event.metrics["step"] for event in events if event.kind == "alarm"] == [60, 100]
    with Checkpoints(tmp_path / "checkpoints", best="-validation/modes", write=False) as checkpoints:
        assert checkpoints.best_step() == 80
        assert 80 in checkpoints.steps()


@pytest.mark.first(1)
@pytest.mark.parametrize("stopped", [40, 60, 95])
def test_a_resumed_run_raises_the_same_alarms(tmp_path, stopped):
    whole, events = [], []
    run(120, directory=tmp_path / "whole", observe=whole.append)

    def stop(event):
        events.append(event)
        if event.kind == "log" and event.step == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(120, directory=tmp_path / "parts", observe=stop)
    resumed = []
    run(120, directory=tmp_path / "parts", observe=resumed.append)
    begun = resumed[0].step
    assert [*[t for t in told(events) if t[0] <= begun], *told(resumed)] == told(whole)
    assert [step for step, _ in told(whole)] == [60, 100]
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("parts", "whole")]
    assert logs[0] == logs[1]


def test_without_a_best_or_a_checkpoint_nothing_is_said_of_one(tmp_path):
    soon = Alarm("nll/y", "above", 0.0, rows=1, meaning="x")
    for options, end in (
        ({}, ": x"),
        ({"directory": tmp_path / "a"}, ": x"),
        ({"best": "nll/y"}, ": x"),
        ({"best": "nll/y", "directory": tmp_path / "b"}, ": x; no best checkpoint yet"),
    ):
        events = []
        run(40, alarms=[soon], observe=events.append, **options)
        ((step, message),) = told(events)
        assert step == 5
        assert message.endswith(end)


def test_a_metric_that_is_never_logged_is_said_once_at_the_first_evaluation(tmp_path):
    alarms = [MODES, Alarm("validation/mode", "below", 1.0, rows=1, meaning="x")]
    events = []
    run(40, alarms=alarms, observe=events.append, directory=tmp_path, evaluate_every=20)
    said = "validation/mode is not in the log, so its alarm is off; did you mean 'validation/modes'?"
    assert told(events) == [(20, said)]
    events.clear()
    run(60, alarms=alarms, observe=events.append, directory=tmp_path, evaluate_every=20)
    assert told(events) == []
    events.clear()
    run(20, alarms=alarms, observe=events.append, evaluate=None)
    assert [step for step, _ in told(events)] == [5, 5]


def test_what_is_no_alarm_is_refused():
    with pytest.raises(TypeError, match="must be a sequence of Alarm, got 'modes' in it"):
        run(10, alarms=["modes"])
    with pytest.raises(TypeError, match=r"put it into a tuple"):
        run(10, alarms=MODES)


def test_alarms_change_nothing_of_the_run():
    with_alarms, without = run(60), run(60, alarms=())
    assert with_alarms.history == without.history
    chex.assert_trees_all_equal(with_alarms.train_state.params, without.train_state.params)
