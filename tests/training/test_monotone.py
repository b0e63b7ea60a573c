"""A metric that never falls: what is rounding, and what stops a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, em, training
from vifx.training.monotone import Monotone, rounding


def test_rounding_is_the_stated_one():
    assert rounding(np.float64(0.0)) == pytest.approx(1e-12, rel=1e-3)
    assert rounding(np.float32(0.0)) == pytest.approx(5.4e-4, rel=0.02)
    assert rounding(np.float64(-5000.0), observations=np.float64(120)) == pytest.approx(170e-12, rel=1e-3)
    assert rounding(np.float64(0.0), cancelled=np.float64(4500e6)) == pytest.approx(1e-6, rel=1e-3)


def check(values, *, history=(), dtype=np.float32, begin=10):
    Monotone("objective", history).check({"objective": np.array(values, dtype)}, begin)


def test_a_fall_names_the_update():
    check([-3.0, -2.0, -2.0004, -1.0])
    known = {"objective": np.array([-3.0, -3.1, -3.3], np.float32), "rounding/objective": np.full(3, 0.15, np.float32)}
    with pytest.raises(training.Diverged, match=r"at update 3: objective fell by 0.2 to -3.3.*rounding \(0.2\)"):
        Monotone("objective", ()).check(known, 0)
    with pytest.raises(training.Diverged, match=r"at update 13: objective fell by 0.01 to -2.0") as caught:
        check([-3.0, -2.0, -2.01, -1.0])
    assert caught.value.step == 13
    with pytest.raises(training.Diverged, match="at update 11"):
        check([-3.0], history=[{"step": 10, "objective": -2.0}])
    check([-3.0], history=[{"step": 10, "other": 1.0}])
    with pytest.raises(training.Diverged, match="at update 12"):
        check([-3.0, -3.0 - 2e-12], dtype=np.float64)


def test_every_start_is_watched_and_compared_with_itself():
    """Start 1 falls at the third update, start 0 at the second, where it starts anew."""
    values = np.array([[-2.0, -9.0], [-3.0, -8.0], [-2.5, -8.5]])
    anew = {"anew/objective": np.array([[0, 0], [1, 0], [0, 0]])}
    with pytest.raises(training.Diverged, match=r"at update 3: start 1: objective fell by 0.5 to -8.5") as caught:
        Monotone("objective", ()).check({"objective": values, **anew}, 0)
    assert (caught.value.step, caught.value.start) == (3, 1)
    with pytest.raises(training.Diverged, match=r"at update 2: start 0: objective fell by 1 to -3"):
        Monotone("objective", ()).check({"objective": values}, 0)
    row = {"step": 4, "start": 1, "objective": -1.0, "start/0/objective": -7.0, "start/1/objective": -1.0}
    Monotone("objective", [row]).check({"objective": np.array([[-6.0, -0.5]])}, 4)
    with pytest.raises(training.Diverged, match=r"start 1: objective fell by 1 to -2"):
        Monotone("objective", [row]).check({"objective": np.array([[-6.0, -2.0]])}, 4)


def test_chunks_are_compared_with_each_other():
    rise = Monotone("objective", ())
    rise.check({"objective": np.array([-2.0, -1.0])}, 0)
    with pytest.raises(training.Diverged, match="at update 3"):
        rise.check({"objective": np.array([-1.5])}, 2)


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="did you mean 'objective'"):
        Monotone("objectiv", ()).check({"objective": np.zeros(1)}, 0)


@pytest.mark.thorough
def test_a_wrong_m_step_stops_the_run_and_keeps_its_last_checkpoint(tmp_path):
    """From update 5 on, the means are moved where they do not belong."""
    x = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    model = em.mixture(em.gaussian, 2, covariance="spherical")
    right = training.solve(model.objective, "model")

    def update(key, progress, batch):
        params, state, (count, inner) = progress
        (params, state, inner), metrics = right.update(key, training.Progress(params, state, inner), batch)
        wrong = {**params["components"], "mean": params["components"]["mean"] + jnp.where(count == 4, 3.0, 0.0)}
        return training.Progress({**params, "components": wrong}, state, (count + 1, inner)), metrics

    step = training.Step(lambda *given: (jnp.zeros((), jnp.int32), right.init(*given)), update, lambda transform: step)
    options = {"steps": 10, "log_every": 2, "checkpoint_every": 4, "directory": tmp_path}
    with pytest.raises(training.Diverged, match=r"at update 6: objective fell by .* of update 4, in "):
        training.fit(jax.random.key(0), step, model.objective, data.Full({"x": x}), monotone="objective", **options)
    assert [row["step"] for row in training.read_metrics(tmp_path / "metrics.jsonl")] == [2, 4]
