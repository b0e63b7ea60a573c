"""The loop: the run is a function of its arguments, whatever interrupts it."""

from __future__ import annotations

import functools
import json
import os
import signal

import chex
import jax
import numpy as np
import optax
import pytest
from training.problems import ToyResident, ToyStreaming, bilinear, equal, jitter, line_data, order, regression

from vifx.training import (
    CheckpointError,
    Checkpoints,
    Diverged,
    Interrupted,
    averaged,
    descend,
    fit,
    guarded,
    make_mesh,
    optimize,
    read_metrics,
    repeat,
    start,
    stream_chunk,
)
from vifx.training.chunk import advance, first_batch
from vifx.training.layout import Layout
from vifx.training.update import TRANSFORM


def problem(noise=0.1, transform=jitter, traces=None, dtype=np.float32):
    objective = regression(noise, traces)
    step = averaged(descend(objective, "model", optax.adam(0.05)), 0.9)
    return objective, step, ToyResident(line_data(dtype=dtype), 8, seed=3, transform=transform)


usual = functools.cache(problem)  # the same step, so that its programs are compiled once


def run(steps, parts=None, **kwargs):
    objective, step, source = parts or usual()
    options = {"log_every": 10, "checkpoint_every": 20} | kwargs
    return fit(jax.random.key(1), step, objective, source, steps=steps, **options)


def test_it_is_stochastic_gradient_descent_on_the_stream_of_examples(x64):
    objective, data = regression(), line_data(dtype=np.float64)
    source = ToyResident(data, 7, seed=5)
    step = descend(objective, "model", optax.sgd(0.1))
    fitted = run(23, (objective, step, source))
    initial = start(jax.random.key(1), step, objective, jax.tree.map(lambda v: v[:7], source.arrays))
    w, b = np.asarray(initial.params["line"]["w"]), 0.0
    losses = []
    for t in range(23):
        rows = order(5, 40, 7 * t, 7)
        x, y = data["x"][rows], data["y"][rows]
        error = x @ w + b - y
        losses.append(np.mean(error**2))
        w, b = w - 0.1 * 2 * error @ x / 7, b - 0.1 * 2 * error.mean()
    np.testing.assert_allclose(fitted.train_state.params["line"]["w"], w, rtol=1e-12)
    np.testing.assert_allclose(fitted.train_state.params["line"]["b"], b, rtol=1e-12)
    assert [row["step"] for row in fitted.history] == [10, 20, 23]
    means = [np.mean(losses[:10]), np.mean(losses[10:20]), np.mean(losses[20:])]
    np.testing.assert_allclose([row["loss/model"] for row in fitted.history], means, rtol=1e-12)
    assert int(fitted.train_state.step) == 23
    assert not any(value.is_deleted() for value in source.arrays.values())


def test_an_update_takes_its_own_minibatches_when_it_needs_several():
    objective = bilinear()
    step = repeat(descend(objective, "max", optax.sgd(1.0)), 2)
    source = ToyResident({"x": np.arange(12, dtype=np.float32)}, 3, seed=1)
    fitted = run(5, (objective, step, source), log_every=2)
    # a = 1, so b grows by the mean of each minibatch
    means = [order(1, 12, 3 * j, 3).mean() for j in range(10)]
    assert float(fitted.train_state.params["b"]["v"]) == pytest.approx(0.5 + np.sum(means), rel=1e-6)


def test_the_keys_of_updates_and_of_transforms_are_folded_from_the_step(x64):
    objective, step, source = problem(dtype=np.float64)
    fitted = run(12, (objective, step, source))
    batch = jitter(jax.random.fold_in(jax.random.key(1), TRANSFORM), _rows(source, 0))
    by_hand = start(jax.random.key(1), step, objective, batch)
    run_key, progress = by_hand.key, by_hand.progress
    update = jax.jit(step.update)
    for t in range(12):
        key = jax.random.fold_in(run_key, t)
        progress, _ = update(key, progress, jitter(jax.random.fold_in(key, TRANSFORM), _rows(source, t)))
    chex.assert_trees_all_close(fitted.train_state.progress, progress, rtol=1e-9)


def _rows(source, t):
    rows = order(source.seed, source.size, source.batch_size * t, source.batch_size)
    return {name: value[rows] for name, value in source.arrays.items()}


@pytest.mark.first(1)
@pytest.mark.parametrize("batches", [1, 2])
def test_streaming_is_the_same_run(x64, batches):
    objective, step, resident = problem(dtype=np.float64)
    step = step if batches == 1 else repeat(step, batches)
    streaming = ToyStreaming(line_data(dtype=np.float64), 8, seed=3, transform=jitter)
    one, other = (run(13, (objective, step, source)) for source in (resident, streaming))
    chex.assert_trees_all_close(one.train_state.progress, other.train_state.progress, rtol=1e-9)
    assert [row["step"] for row in other.history] == [10, 13]


@pytest.mark.first(1)
@pytest.mark.parametrize("mesh", [False, True])
def test_minibatches_of_a_stream_are_on_the_devices_before_their_turn(monkeypatch, mesh):
    """Those of the next call are put there while one runs, none of the next chunk, and metrics are read once."""
    events, (objective, step, _) = [], usual()

    class Told(ToyStreaming):
        def batches(self, first, *, host=0, hosts=1):
            for batch in super().batches(first, host=host, hosts=hosts):
                events.append(("read", first))
                yield batch
                first += 1

    def noting(name, function):
        def noted(*arguments):
            events.append(name)
            return function(*arguments)

        return noted

    source = Told(line_data(), 8, seed=3, transform=jitter)
    train_state = start(jax.random.key(1), step, objective, first_batch(jax.random.key(1), source))
    for module, name in [(stream_chunk, "_read_updates"), (jax, "block_until_ready"), (jax, "device_get")]:
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    monkeypatch.setattr(stream_chunk, "_TOGETHER", 2)  # updates a call
    events.clear()
    with advance(step, source, Layout.checked(make_mesh(jax.devices()[:4]), None, "test") if mesh else None, 5) as run:
        train_state, _ = run(train_state, 5, 7)
        first = list(events)
        run(train_state, 12, 1)
    update, read, wait = "_read_updates", lambda number: ("read", number), "block_until_ready"
    begun = [read(5), read(6), update, read(7), read(8), update, read(9), read(10), wait]
    assert first == [*begun, update, read(11), wait, update, wait, "device_get"]
    assert events[len(first) :] == [read(12), update, "device_get"]


def test_a_host_reads_its_own_rows_and_all_rows_to_begin_with(monkeypatch):
    asked, step = [], problem()[1]

    class Noted(ToyStreaming):
        def batches(self, first, *, host=0, hosts=1):
            asked.append((first, host, hosts))
            return super().batches(first, host=host, hosts=hosts)

    source = Noted(line_data(), 8, seed=3, transform=jitter)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    np.testing.assert_array_equal(first_batch(jax.random.key(0), source)["y"], source.host["y"][order(3, 40, 0, 8)])
    with advance(step, source, None, 7):
        assert asked == [(0, 0, 1), (7, 1, 4)]


def test_streaming_resumes_where_it_was(tmp_path):
    objective, step, _ = problem()
    step, source = repeat(step, 2), ToyStreaming(line_data(), 8, seed=3, transform=jitter)
    whole = run(13, (objective, step, source), log_every=4, directory=tmp_path / "whole")
    run(8, (objective, step, source), log_every=4, directory=tmp_path / "parts")
    resumed = run(13, (objective, step, source), log_every=4, directory=tmp_path / "parts")
    assert equal(resumed.train_state, whole.train_state)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_chunks_end_at_absolute_multiples_wherever_they_begin(tmp_path):
    run(25, directory=tmp_path)
    resumed = run(57, directory=tmp_path)
    assert [row["step"] for row in resumed.history] == [10, 20, 25, 30, 40, 50, 57]
    assert equal(resumed.train_state, run(57).train_state)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [ToyResident, ToyStreaming])
def test_a_mesh_gives_the_same_run(x64, kind, tmp_path):
    objective, step, _ = problem()
    source = kind(line_data(dtype=np.float64), 8, seed=3, transform=jitter)
    one = run(14, (objective, step, source))
    run(10, (objective, step, source), mesh=make_mesh(), directory=tmp_path)
    many = run(14, (objective, step, source), mesh=make_mesh(jax.devices()[:2]), directory=tmp_path)
    chex.assert_trees_all_close(one.train_state.progress, many.train_state.progress, rtol=1e-9)
    assert len(many.train_state.params["line"]["w"].sharding.device_set) == 2


def test_it_traces_once_over_chunks_and_calls():
    parts = problem(traces=2)
    run(40, parts)
    run(30, parts)
    fitted = run(15, parts)  # the last chunk has a length of its own
    assert int(fitted.train_state.step) == 15


def files(directory):
    return (directory / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("first", [20, 30])
def test_a_run_stopped_and_resumed_is_the_uninterrupted_one_bit_for_bit(tmp_path, first):
    whole = run(57, directory=tmp_path / "whole")
    run(first, directory=tmp_path / "parts")
    resumed = run(57, directory=tmp_path / "parts")
    assert equal(resumed.train_state, whole.train_state)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert resumed.history == whole.history == read_metrics(tmp_path / "whole" / "metrics.jsonl")
    again = run(57, directory=tmp_path / "parts")
    assert equal(again.train_state, whole.train_state)
    assert again.history == whole.history
    with Checkpoints(tmp_path / "parts" / "checkpoints", write=False) as checkpoints:
        assert checkpoints.steps() == [40, 57]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_chunk_end_and_saves(tmp_path, number):
    inherited = signal.signal(number, before := signal.default_int_handler)  # ignored under nohup

    def observe(event):
        if event.kind == "log" and event.step == 30:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match=r"after update 30, saved in .*call fit again") as caught:
        run(57, directory=tmp_path, observe=observe)
    assert (caught.value.step, caught.value.directory, caught.value.signal) == (30, tmp_path, number)
    assert signal.signal(number, inherited) is before
    assert equal(run(57, directory=tmp_path).train_state, run(57).train_state)


def test_the_second_signal_stops_at_once_and_nothing_is_lost(tmp_path):
    def observe(event):
        if event.kind == "log" and event.step == 30:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(57, directory=tmp_path, observe=observe)
    assert equal(run(57, directory=tmp_path).train_state, run(57).train_state)
    with pytest.raises(Interrupted, match="nothing saved: no directory given"):
        run(57, observe=lambda event: event.kind == "start" and os.kill(os.getpid(), signal.SIGTERM))


def test_the_second_signal_goes_to_the_handler_of_before():
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))

    def observe(event):
        if event.kind == "start":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        with pytest.raises(KeyboardInterrupt):
            run(57, observe=observe)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fitted = run(57, observe=lambda event: event.kind == "start" and os.kill(os.getpid(), signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert int(fitted.train_state.step) == 57


# numbers that are not finite


def poisoned(row=17):
    data = line_data()
    data["y"][row] = np.nan
    bad = [t for t in range(60) if row in order(3, 40, 8 * t, 8)]
    return ToyResident(data, 8, seed=3), bad


def test_a_nan_stops_within_the_chunk_and_keeps_the_last_good_checkpoint(tmp_path):
    objective = regression()
    step = descend(objective, "model", optax.sgd(0.05))
    run(20, (objective, step, ToyResident(line_data(), 8, seed=3)), directory=tmp_path, config_hash="a")
    source, bad = poisoned()
    first = min(t for t in bad if t >= 20) + 1
    with pytest.raises(Diverged, match=rf"at update {first}: nll/y is nan .*last checkpoint is of update 20") as caught:
        run(57, (objective, step, source), directory=tmp_path, config_hash="a")
    assert caught.value.step == first
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] <= first
    with Checkpoints(tmp_path / "checkpoints", write=False) as checkpoints:
        assert checkpoints.steps() == [20]
    with pytest.raises(Diverged, match="no checkpoint was saved"):
        run(57, (objective, step, source))


def test_parameters_that_overflow_after_finite_metrics_stop_it_too():
    objective = bilinear()
    step = descend(objective, "max", optax.scale(-3e38))
    source = ToyResident({"x": np.full(8, 100.0, np.float32)}, 4)
    with pytest.raises(Diverged, match="a parameter is not finite, although every metric is"):
        run(1, (objective, step, source))


def test_a_guarded_run_skips_bad_updates_and_reports_the_applied_ones(tmp_path):
    objective = regression()
    step = guarded(descend(objective, "model", optax.sgd(0.05)))
    source, bad = poisoned()
    fitted = run(20, (objective, step, source), directory=tmp_path)
    assert all(np.isfinite(row["loss/model"]) for row in fitted.history)
    assert [row["guard/skipped"] for row in fitted.history] == [sum(t < end for t in bad) for end in (10, 20)]
    assert "guard/first_bad" not in fitted.history[0]
    always = ToyResident({"x": line_data()["x"], "y": np.full(40, np.nan, np.float32)}, 8)
    match = r"at update 4: 4 updates in a row were skipped; nll/y is nan"
    with pytest.raises(Diverged, match=match):
        run(20, (objective, step, always), skips=4)


# what is logged, chosen and refused


def test_events_evaluations_and_the_best_checkpoint(tmp_path):
    events, calls = [], []

    def evaluate(train_state):
        calls.append(int(train_state.step))
        return {"distance": abs(float(train_state.step) - 38)}

    fitted = run(65, evaluate=evaluate, evaluate_every=30, best="distance", directory=tmp_path, observe=events.append)
    # 10 asks for the names; then at checkpoints (20, 40, 60, end) and evaluations (30, 60, end)
    assert calls == [10, 20, 30, 40, 60, 65]
    assert {row["step"]: row["distance"] for row in fitted.history if "distance" in row} == {
        20: 18.0, 30: 8.0, 40: 2.0, 60: 22.0, 65: 27.0,
    }  # fmt: skip
    with Checkpoints(tmp_path / "checkpoints", best="distance", write=False) as checkpoints:
        assert checkpoints.steps() == [40, 60, 65]
        assert checkpoints.best_step() == 40
    kinds = [(event.kind, event.step) for event in events if event.kind != "log"]
    assert kinds == [
        ("start", 0),
        ("checkpoint", 20),
        ("checkpoint", 40),
        ("checkpoint", 60),
        ("checkpoint", 65),
        ("end", 65),
    ]
    logs = [event for event in events if event.kind == "log"]
    assert [event.metrics for event in logs] == fitted.history
    assert all(event.steps == 65 for event in events)
    assert [event.seconds for event in events] == sorted(event.seconds for event in events)


def test_checkpoints_are_at_the_first_row_past_each_multiple():
    saved = []
    run(50, log_every=8, checkpoint_every=20, observe=lambda e: e.kind == "checkpoint" and saved.append(e.step))
    assert saved == [24, 40, 50]


def test_an_unknown_best_metric_is_refused_before_anything_is_logged(tmp_path):
    with pytest.raises(ValueError, match="unknown metric for best 'los/model'; did you mean 'loss/model'"):
        run(30, best="los/model", directory=tmp_path)
    with pytest.raises(ValueError, match="unknown metric for best 'validation/elb'; did you mean 'validation/elbo'"):
        run(30, best="-validation/elb", evaluate=lambda s: {"validation/elbo": 0.0}, directory=tmp_path)
    assert files(tmp_path) == b""
    with pytest.raises(ValueError, match="evaluate returns 'bias', which training reports already"):
        run(30, evaluate=lambda s: {"bias": 0.0})


def test_resuming_something_else_is_refused(tmp_path):
    objective, step, source = problem()
    run(20, (objective, step, source), directory=tmp_path, config_hash="a")
    with pytest.raises(CheckpointError, match="another config"):
        run(30, (objective, step, source), directory=tmp_path, config_hash="b")
    with pytest.raises(CheckpointError, match="was started with another key; go on with the seed"):
        fit(jax.random.key(2), step, objective, source, steps=30, directory=tmp_path, config_hash="a")
    other = descend(objective, "model", optax.sgd(0.1))
    with pytest.raises(CheckpointError, match=r"has a leaf \.slot.*, which the step does not know"):
        run(30, (objective, other, source), directory=tmp_path, config_hash="a")
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2


def test_an_earlier_checkpoint_may_be_named_when_the_latest_is_damaged(tmp_path):
    whole = run(60, directory=tmp_path)
    (tmp_path / "checkpoints" / "60" / "manifest" / "metadata").write_text("{}")
    log = files(tmp_path)
    with pytest.raises(CheckpointError, match=r"60.*damaged; resume from another step by naming it: \[40\]"):
        run(60, directory=tmp_path)
    resumed = run(60, directory=tmp_path, resume_from=40)
    assert equal(resumed.train_state, whole.train_state)
    assert files(tmp_path) == log
    assert (tmp_path / "checkpoints" / "60.set-aside").is_dir()


@pytest.mark.parametrize("name", ["steps", "log_every", "checkpoint_every", "evaluate_every"])
def test_numbers_of_updates_are_positive(name):
    objective, step, source = problem()
    options = {"steps": 10} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be an integer ≥ 1, got 0"):
        fit(jax.random.key(0), step, objective, source, **options)


def test_arguments_that_cannot_work_together_are_refused():
    with pytest.raises(ValueError, match="resume_from needs the directory"):
        run(10, resume_from=5)
    objective = regression()
    parts = objective, optimize(objective, optax.sgd(0.1)), ToyResident(line_data(), 10)
    with pytest.raises(ValueError, match=r"10 examples of 'x' do not divide over the 8 devices .*multiple of 8"):
        run(10, parts, mesh=make_mesh())


def test_rows_are_json_without_times(tmp_path):
    run(20, directory=tmp_path)
    rows = [json.loads(line) for line in files(tmp_path).splitlines()]
    assert [set(row) for row in rows] == 2 * [{"step", "bias", "nll/y", "loss/model"}]
