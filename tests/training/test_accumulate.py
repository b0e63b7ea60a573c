"""Gradient accumulation against the large batch."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import line_data, regression

from vifx.core.objective import Objective, Player
from vifx.core.types import Aux
from vifx.training import accumulated, anchored, constrained, descend, start


def run(step, objective, batch, updates=3):
    progress = start(jax.random.key(0), step, objective, batch).progress
    for i in range(updates):
        progress, metrics = jax.jit(step.update)(jax.random.key(i), progress, batch)
    return progress, metrics


@pytest.mark.parametrize("microbatches", [1, 2, 5])
def test_equal_to_the_large_batch(x64, microbatches):
    batch = jax.tree.map(jnp.asarray, line_data(20, dtype=np.float64))
    whole = descend(regression(), "model", optax.sgd(0.1, momentum=0.9))
    large, expected = run(whole, regression(), batch)
    small, metrics = run(accumulated(whole, microbatches), regression(), batch)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)  # noqa: E731
    jax.tree.map(close, small, large)
    jax.tree.map(close, metrics, expected)


def mixed():
    """Two networks, of which the player owns one; state of each kind; a metric that counts."""

    def init(key, batch):
        del key, batch
        state = {"mean": jnp.zeros(()), "count": jnp.zeros((), jnp.int32), "key": jax.random.key(3)}
        return {"net": {"w": jnp.ones(())}, "other": {"w": jnp.full((), 2.0)}}, {"net": state}

    def loss(key, params, state, batch, *, train=True):
        old = state["net"]
        x = batch["x"]
        new = {
            "mean": 0.9 * old["mean"] + 0.1 * jnp.mean(x),
            "count": old["count"] + x[0].astype(jnp.int32),
            "key": jax.random.fold_in(old["key"], x[0].astype(jnp.int32)),
        }
        value = jnp.mean(jnp.sin(params["net"]["w"] * x)) * params["other"]["w"] + 0.0 * jax.random.normal(key)
        value = value + jnp.where(train, 0.0, 1.0)
        return value, Aux({"first": x[0].astype(jnp.int32)}, {"net": new})

    return Objective(init, {"model": Player(("net",), loss)}, ())


def test_float_state_is_averaged_and_other_state_is_the_last():
    batch = {"x": jnp.arange(6.0)}
    step = accumulated(descend(mixed(), "model", optax.sgd(0.1), grad_norm=True), 3)
    progress, metrics = run(step, mixed(), batch, updates=1)
    state = progress.state["net"]
    assert float(state["mean"]) == pytest.approx(0.1 * 2.5)  # mean over parts of 0.1 · mean
    assert int(state["count"]) == 2  # the last part is examples 2 and 5
    expected = jax.random.fold_in(jax.random.key(3), 2)
    assert (jax.random.key_data(state["key"]) == jax.random.key_data(expected)).all()
    assert int(metrics["first"]) == 2
    gradient = 2.0 * np.mean(np.cos(np.arange(6.0)) * np.arange(6.0))
    assert float(metrics["grad_norm/model"]) == pytest.approx(abs(gradient), rel=1e-5)
    assert float(progress.params["other"]["w"]) == 2.0


def test_parts_draw_their_own_noise():
    def loss(key, params, state, batch, *, train=True):
        return params["net"]["w"] * jax.random.normal(key), Aux({}, {})

    objective = Objective(lambda key, batch: ({"net": {"w": jnp.ones(())}}, {}), {"model": Player(("net",), loss)}, ())
    step = accumulated(descend(objective, "model", optax.sgd(1.0)), 2)
    progress, _ = run(step, objective, {"x": jnp.zeros(4)}, updates=1)
    draws = [float(jax.random.normal(jax.random.fold_in(jax.random.key(0), i))) for i in range(2)]
    assert float(progress.params["net"]["w"]) == pytest.approx(1 - np.mean(draws), rel=1e-6)


def test_it_passes_train_on_and_its_value_alone_is_right():
    losses = []
    step = descend(mixed(), "model", optax.sgd(0.1))

    def keep(loss):
        losses.append(loss)
        return loss

    constrained(accumulated(step, 3), loss=keep)
    params, state = mixed().init(jax.random.key(0), {})
    batch = {"x": jnp.arange(6.0)}
    value, aux = losses[-1](jax.random.key(0), params, state, batch, train=False)
    assert float(value) == pytest.approx(1 + 2 * np.mean(np.sin(np.arange(6.0))), rel=1e-5)
    assert int(aux.metrics["first"]) == 2


def test_memory_is_that_of_one_part():
    def init(key, batch):
        return {"net": {"w": jax.random.normal(key, (256, 256)) / 16}}, {"net": {}}

    def loss(key, params, state, batch, *, train=True):
        h = batch["x"]
        for _ in range(6):
            h = jnp.tanh(h @ params["net"]["w"])
        return jnp.mean(h**2), Aux({}, {"net": {}})

    objective = Objective(init, {"model": Player(("net",), loss)}, ())
    batch = {"x": jnp.ones((1024, 256))}

    def temporary(step):
        progress = start(jax.random.key(0), step, objective, batch).progress
        compiled = jax.jit(step.update).lower(jax.random.key(0), progress, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = descend(objective, "model", optax.sgd(0.1))
    activations = 1024 * 256 * 4
    assert temporary(whole) > 5 * activations
    # The batch, rearranged, is one activation's size; what a part keeps is an eighth of seven.
    assert temporary(accumulated(whole, 8)) < 3.5 * activations


def test_it_reaches_inside_other_combinators(x64):
    batch = jax.tree.map(jnp.asarray, line_data(12, dtype=np.float64))
    inner = descend(regression(), "model", optax.sgd(0.1))
    one, _ = run(accumulated(anchored(inner, "line"), 3), regression(), batch)
    other, _ = run(anchored(inner, "line"), regression(), batch)
    chex.assert_trees_all_close(one.params, other.params, rtol=1e-12)


def test_it_refuses_a_remainder():
    batch = jax.tree.map(jnp.asarray, line_data(10))
    step = accumulated(descend(regression(), "model", optax.sgd(0.1)), 3)
    with pytest.raises(ValueError, match=r"10 examples .* does not divide into 3"):
        run(step, regression(), batch)
    with pytest.raises(ValueError, match="microbatches must be an integer ≥ 1, got 0"):
        accumulated(step, 0)
