"""A metric that never falls: what is rounding, and what stops a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, em, training
from vifx.training.monotone import Rise, rounding


def test_rounding_is_the_stated_one():
    assert rounding(np.float64(0.0)) == pytest.approx(1e-12, rel=1e-3)
    assert rounding(np.float32(0.0)) == pytest.approx(5.4e-4, rel=0.02)
    assert rounding(np.float64(-5000.0), observations=np.float64(120)) == pytest.approx(170e-12, rel=1e-3)
    assert rounding(np.float64(0.0), cancelled=np.float64(4500e6)) == pytest.approx(1e-6, rel=1e-3)


def check(values, *, history=(), dtype=np.float32, begin=10):
    Rise("objective", history).check({"objective": np.array(values, dtype)}, begin, lambda: "saved: none")


def test_a_fall_names_the_update_and_what_was_saved():
    check([-3.0, -2.0, -2.0004, -1.0])
    known = {"objective": np.array([-3.0, -3.1, -3.3], np.float32), "rounding/objective": np.full(3, 0.15, np.float32)}
    with pytest.raises(training.Diverged, match=r"at update 3: objective fell by 0.2 to -3.3.*rounding \(0.2\)"):
        Rise("objective", ()).check(known, 0, lambda: "saved: none")
    with pytest.raises(training.Diverged, match=r"at update 13: objective fell by 0.01 to -2.0.*saved: none") as caught:
        check([-3.0, -2.0, -2.01, -1.0])
    assert caught.value.step == 13
    with pytest.raises(training.Diverged, match="at update 11"):
        check([-3.0], history=[{"step": 10, "objective": -2.0}])
    check([-3.0], history=[{"step": 10, "other": 1.0}])
    with pytest.raises(training.Diverged, match="at update 12"):
        check([-3.0, -3.0 - 2e-12], dtype=np.float64)


def test_chunks_are_compared_with_each_other():
    rise = Rise("objective", ())
    rise.check({"objective": np.array([-2.0, -1.0])}, 0, str)
    with pytest.raises(training.Diverged, match="at update 3"):
        rise.check({"objective": np.array([-1.5])}, 2, str)


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="did you mean 'objective'"):
        Rise("objectiv", ()).check({"objective": np.zeros(1)}, 0, str)
    Rise(None, ()).check({}, 0, str)


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
