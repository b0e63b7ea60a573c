"""Several sources side by side: what each gives by itself, in any number of calls, on any number of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vifx import data, training
from vifx.core.objective import Objective, Player
from vifx.core.types import Aux
from vifx.training.minibatch_sources import ResidentSource

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(10, 3)).astype(np.float32), np.arange(10)
MORE = RNG.normal(size=(37, 3)).astype(np.float32)


def noisy(name):
    return lambda key, batch: {**batch, name: batch[name] + jax.random.normal(key, batch[name].shape, jnp.float32)}


def parts():
    labelled = data.Resident({"x": X, "y": Y}, 4, 0, noisy("x"))
    return labelled, data.Resident({"more_x": MORE}, 6, 1, noisy("more_x"))


def test_each_part_is_what_its_source_gives():
    sources = parts()
    combined = data.Combined(*sources)
    assert isinstance(combined, ResidentSource)
    take = jax.jit(lambda arrays, window, i: combined.take(jax.random.key(3), arrays, window, i))
    for first in (0, 5, 1000):
        window = combined.window(first, 4)
        for i in range(4):
            batch = take(combined.arrays, window, i)
            assert sorted(batch) == ["more_x", "x", "y"]
            for position, source in enumerate(sources):
                own = jax.random.fold_in(jax.random.key(3), position)
                expected = source.take(own, source.arrays, source.window(first, 4), i)
                for name, value in expected.items():
                    np.testing.assert_array_equal(batch[name], value)


def test_each_part_has_epochs_of_its_own():
    """Fifteen minibatches of 4 of 10 are six epochs, and of 6 of 37 more than two."""
    combined = data.Combined(data.Resident({"y": Y}, 4, 0), data.Resident({"more_y": np.arange(37)}, 6, 1))
    window = combined.window(0, 15)
    drawn = [combined.take(jax.random.key(i), combined.arrays, window, i) for i in range(15)]
    few = np.bincount(np.concatenate([batch["y"] for batch in drawn]), minlength=10)
    many = np.bincount(np.concatenate([batch["more_y"] for batch in drawn]), minlength=37)
    np.testing.assert_array_equal(few, 6)
    assert set(many) == {2, 3}
    assert many.sum() == 90


def test_a_whole_data_set_beside_minibatches():
    combined = data.Combined(data.Full({"x": X}), data.Resident({"more_x": MORE}, 6, 1))
    batch = combined.take(jax.random.key(0), combined.arrays, combined.window(2, 1), 0)
    np.testing.assert_array_equal(batch["x"], X)
    assert len(batch["more_x"]) == 6


def objective():
    """Least squares of labels, and a term of the examples that have none."""

    def loss(key, params, state, batch, *, train=True):
        del key, train
        error = batch["x"] @ params["line"] - batch["y"].astype(batch["x"].dtype)
        value = jnp.mean(error**2) + 0.1 * jnp.mean(jnp.square(batch["more_x"] @ params["line"]))
        return value, Aux({"nll/y": value}, state)

    def init(key, batch):
        return {"line": jax.random.normal(key, (3,), batch["x"].dtype)}, {}

    return Objective(init, {"model": Player(("line",), loss)}, ())


def run(steps, whole=None, **options):
    problem, step, source = whole or (objective(), None, data.Combined(*parts()))
    step = step or training.descend(problem, "model", optax.adam(0.05))
    return training.fit(jax.random.key(0), step, problem, source, steps=steps, log_every=4, **options)


@pytest.mark.thorough
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = run(11)
    run(6, directory=tmp_path)
    resumed = run(11, directory=tmp_path)
    np.testing.assert_array_equal(resumed.train_state.params["line"], whole.train_state.params["line"])
    np.testing.assert_array_equal(resumed.history[-1]["nll/y"], whole.history[-1]["nll/y"])


def test_turns_that_take_minibatches_of_their_own_see_those_of_the_run_of_single_turns():
    problem, source = (
        objective(),
        data.Combined(data.Resident({"x": X, "y": Y}, 4, 0), data.Resident({"more_x": MORE}, 6, 1)),
    )
    step = training.descend(problem, "model", optax.adam(0.05))
    single = run(8, (problem, step, source))
    double = run(4, (problem, training.repeat(step, 2), source))
    np.testing.assert_allclose(
        double.train_state.params["line"], single.train_state.params["line"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.thorough
def test_a_mesh_gives_the_same_run(x64):
    one = run(6)
    two = run(6, mesh=training.make_mesh(jax.devices()[:2]))
    np.testing.assert_allclose(two.train_state.params["line"], one.train_state.params["line"], rtol=1e-5)


@pytest.mark.parametrize(
    ("sources", "error", "message"),
    [
        ((data.Resident({"x": X}, 2, 0),), ValueError, "at least two sources, got 1"),
        ((data.Full({"x": X}), {"x": MORE}), TypeError, "a Resident or Full source, got a dict"),
        ((data.Full({"x": X}), data.Streaming({"more_x": MORE}, 2, 0)), TypeError, "got a Streaming"),
        ((data.Full({"x": X}), data.Resident({"x": MORE}, 2, 0)), ValueError, r"evidence\(x='more_x'\)"),
        (
            (data.Full({"x": X, "@weights": np.ones(10)}), data.Full({"more_x": MORE})),
            ValueError,
            "weigh the objectives",
        ),
    ],
)
def test_what_does_not_combine_is_refused(sources, error, message):
    with pytest.raises(error, match=message):
        data.Combined(*sources)


def test_transforms_that_make_one_entry_are_refused():
    copied = lambda key, batch: {**batch, "label": batch["x"]}  # noqa: E731
    also = lambda key, batch: {**batch, "label": batch["more_x"]}  # noqa: E731
    combined = data.Combined(data.Full({"x": X}, copied), data.Full({"more_x": MORE}, also))
    with pytest.raises(ValueError, match="two sources make an entry 'label'"):
        combined.take(jax.random.key(0), combined.arrays, combined.window(0, 1), 0)
