"""Several runs in one program, against the same runs made one by one."""

from __future__ import annotations

import functools

import chex
import jax
import numpy as np
import optax
import pytest
from training.problems import line_data, regression

from vifx import data
from vifx.training import Diverged, averaged, csv_log, descend, fit, fit_together, guarded, patience, read_metrics

DATA = line_data()


@functools.cache
def objective():
    return regression(noise=0.1)


@functools.cache
def step():
    return averaged(guarded(descend(objective(), "model", optax.adam(0.05))), 0.9)


def evaluate(train_state):
    return {"validation/b": float(train_state.params["line"]["b"])}


def told(seed, **more):
    """The arguments of a run; the order of the examples and everything drawn is of its seed."""
    often = {
        "log_every": 5,
        "checkpoint_every": 10,
        "evaluate": lambda at: {"validation/b": float(at.params["line"]["b"])},
    }
    parts = {"key": jax.random.key(seed), "step": step(), "objective": objective()}
    return {**parts, "source": data.Resident(DATA, 8, seed), "steps": 20, "observe": None, **often, **more}


def alike(one, other, rtol=1e-5):
    for row, there in zip(one.history, other.history, strict=True):
        assert row == pytest.approx(there, rel=rtol)
    mine, theirs = (each.train_state for each in (one, other))
    chex.assert_trees_all_close(mine.params, theirs.params, rtol=rtol, atol=1e-6)
    chex.assert_trees_all_close(mine.slot, theirs.slot, rtol=rtol, atol=1e-6)
    chex.assert_trees_all_equal(mine.key, theirs.key)
    assert int(mine.step) == int(theirs.step)


def test_runs_together_are_the_runs_one_by_one_with_logs_and_checkpoints_of_their_own(tmp_path):
    seeds = range(3)
    places = [tmp_path / str(seed) for seed in seeds]
    each = [told(seed, directory=place, best="validation/b") for seed, place in zip(seeds, places, strict=True)]
    each[1]["observe"] = csv_log(tmp_path / "one.csv")
    together = fit_together(each)
    for seed, place, run in zip(seeds, places, together, strict=True):
        alone = fit(**told(seed, best="validation/b"))
        alike(run, alone)
        assert read_metrics(place / "metrics.jsonl") == run.history
        longer = fit(**told(seed, best="validation/b", directory=place) | {"steps": 25})  # gone on with alone
        assert [row["step"] for row in longer.history] == [5, 10, 15, 20, 25]
    assert len({float(run.history[-1]["nll/y"]) for run in together}) == 3
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 5


@pytest.mark.thorough
def test_runs_go_on_together_from_a_checkpoint_that_all_have(tmp_path):
    places = [tmp_path / str(seed) for seed in range(2)]
    whole = fit_together([told(seed) for seed in range(2)])
    fit_together([told(seed, directory=place) | {"steps": 10} for seed, place in enumerate(places)])
    fit(**told(0, directory=places[0]))
    with pytest.raises(ValueError, match="after updates 10, 20; give resume_from"):
        fit_together([told(seed, directory=place) for seed, place in enumerate(places)])
    resumed = fit_together([told(seed, directory=place, resume_from=10) for seed, place in enumerate(places)])
    for one, other in zip(resumed, whole, strict=True):
        alike(one, other)


@pytest.mark.thorough
def test_a_run_that_stops_or_diverges_leaves_the_others_alone():
    bad = {"y": np.array([*DATA["y"][:-1], 3e38], np.float32), "x": DATA["x"]}
    plain = descend(regression(), "model", optax.sgd(0.05))

    def run(seed, **more):
        parts = {"step": plain, "source": data.Resident(bad, 8, seed)}
        return told(seed) | parts | {"steps": 10, "log_every": 1} | more

    found = fit_together([run(seed) for seed in range(4)])
    alone = []
    for seed in range(4):
        try:
            alone.append(fit(**run(seed)))
        except Diverged as error:
            alone.append(error)
    ends = [run.step if isinstance(run, Diverged) else int(run.train_state.step) for run in found]
    assert ends == [run.step if isinstance(run, Diverged) else int(run.train_state.step) for run in alone]
    assert len(set(ends)) > 1
    rule = patience("validation/b", evaluations=1)
    for seed, one in enumerate(fit_together([told(seed, stop=rule) for seed in range(3)])):
        other = fit(**told(seed, stop=rule))
        assert (len(one.history), one.stopped) == (len(other.history), other.stopped)


def test_runs_that_differ_by_more_than_their_seeds_are_refused(tmp_path):
    other = regression(noise=0.2)
    for more, message in (
        ({"steps": 30}, "run 1 of fit_together has other updates or chunks than run 0"),
        ({"source": data.Streaming(DATA, 8, 1)}, "run 1 of fit_together has a stream"),
        ({"source": data.Resident(line_data(features=3, examples=39), 8, 1)}, "has other examples than run 0"),
        ({"step": averaged(guarded(descend(other, "model", optax.adam(0.05))), 0.9)}, "has another step than run 0"),
        (
            {"source": data.Resident(DATA, 8, 1, transform=lambda key, batch: batch | {"x": -batch["x"]})},
            "another step",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            fit_together([told(0, directory=tmp_path / "0"), told(1, directory=tmp_path / "1") | more])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="needs at least one run"):
        fit_together([])
