"""Several starts at once: each is what it would be alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import ToyResident, line_data, regression

from vifx.core.objective import Objective
from vifx.training import Diverged, descend, fit, several


def test_each_start_is_the_run_of_it_alone(x64):
    objective, data = regression(), line_data(dtype=np.float64)
    step, source = descend(objective, "model", optax.adam(0.1)), ToyResident(data, 8, seed=2)
    keys = jax.random.split(jax.random.key(3), 3)
    state = objective.init(keys[0], source.arrays)[1]
    stacked = jax.vmap(lambda key: objective.init(key, source.arrays)[0])(jax.random.clone(keys))
    options = {"steps": 7, "log_every": 3}
    together = fit(
        jax.random.key(0), several(step, 3, best="bias"), objective, source, initial=(stacked, state), **options
    )
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(3)]
    alone = [fit(jax.random.key(0), step, objective, source, initial=(own, state), **options) for own in each]
    for name in ("w", "b"):
        expected = np.stack([each.train_state.params["line"][name] for each in alone])
        np.testing.assert_allclose(together.train_state.params["line"][name], expected, rtol=1e-12)
    assert not stacked["line"]["w"].is_deleted()
    assert int(together.train_state.state["model@updates"]) == 7
    for row, *rows in zip(together.history, *(each.history for each in alone), strict=True):
        for name in ("bias", "loss/model"):
            each = [row[f"start/{i}/{name}"] for i in range(3)]
            np.testing.assert_allclose(each, [own[name] for own in rows], rtol=1e-12)
            assert row[name] == each[row["start"]]
    # The best one is that of the last update of a row, here the only one.
    last = together.history[-1]
    assert last["start"] == np.argmax([each.history[-1]["bias"] for each in alone])


def test_a_start_that_is_not_finite_is_named_with_the_update(x64):
    objective, source = regression(), ToyResident(line_data(dtype=np.float64), 40)
    params, state = objective.init(jax.random.key(0), source.arrays)
    bad = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * jnp.nan]), params)
    step = several(descend(objective, "model", optax.sgd(0.1)), 2, best="bias")
    with pytest.raises(Diverged, match=r"diverged at update 1: start 1: nll/y is nan") as caught:
        fit(jax.random.key(0), step, objective, source, steps=1, initial=(bad, state))
    assert caught.value.start == 1
    assert not np.isfinite(caught.value.train_state.params["line"]["b"][1])


def test_what_starts_cannot_share_is_refused():
    objective = regression()
    step = descend(objective, "model", optax.sgd(0.1))
    batch = {"x": jnp.ones((4, 2)), "y": jnp.ones(4)}
    source = ToyResident(batch, 4)
    params, state = objective.init(jax.random.key(0), batch)
    initial = (jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params), state)
    with pytest.raises(ValueError, match="unknown metric for several: best 'biass'; did you mean 'bias'"):
        fit(jax.random.key(0), several(step, 2, best="biass"), objective, source, steps=1, initial=initial)

    def statistics(key, params, state, batch, *, train=True):
        value, aux = objective.players["model"].loss(key, params, state, batch, train=train)
        return value, aux._replace(state={"line": {"seen": params["line"]["b"]}})

    moving = Objective(objective.init, {"model": objective.players["model"]._replace(loss=statistics)}, ())
    step = several(descend(moving, "model", optax.sgd(0.1)), 2, best="bias")
    with pytest.raises(ValueError, match="all starts share one state"):
        fit(jax.random.key(0), step, moving, source, steps=1, initial=initial)
    with pytest.raises(ValueError, match="several: starts must be an integer ≥ 1"):
        several(step, 0, best="bias")
