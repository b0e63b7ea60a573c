"""Optimizers that ask for more than a gradient, against hand-written loops."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import regression

from vifx import training
from vifx.core.objective import Objective, Player
from vifx.core.types import Aux

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32) * np.array([1, 4, 0.5], np.float32)
Y = (X @ np.array([1.0, -0.5, 2.0], np.float32) + np.random.default_rng(1).normal(size=60) > 0).astype(np.float32)
BATCH = {"x": jnp.asarray(X), "y": jnp.asarray(Y)}


def mean_loss(w, x, y):
    """Logistic regression in nats, with a ridge."""
    logits = x @ w
    return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits) + 0.01 * jnp.sum(w**2)


def logistic():
    def loss(key, params, state, batch, *, train=True):
        del key, train
        value = mean_loss(params["line"], batch["x"], batch["y"])
        return value, Aux({"nll/y": value}, state)

    return Objective(lambda key, batch: ({"line": jnp.zeros(3)}, {}), {"model": Player(("line",), loss)}, ())


def run(optimizer, updates, objective=None, batch=None, wrap=lambda step: step):
    objective = logistic() if objective is None else objective
    batch = BATCH if batch is None else batch
    step = wrap(training.descend(objective, "model", optimizer))
    train_state = training.start(jax.random.key(0), step, objective, batch)
    compiled, losses = training.compile(step), []
    for _ in range(updates):
        train_state, metrics = compiled(train_state, batch)
        losses.append(float(metrics["loss/model"]))
    return train_state, losses


@pytest.mark.thorough
def test_lbfgs_is_the_loop_written_by_hand():
    optimizer = optax.lbfgs()
    value_fn = lambda w: mean_loss(w["line"], BATCH["x"], BATCH["y"])  # noqa: E731

    @jax.jit
    def update(w, slot):
        value, grad = jax.value_and_grad(value_fn)(w)
        updates, slot = optimizer.update(grad, slot, w, value=value, grad=grad, value_fn=value_fn)
        return optax.apply_updates(w, updates), slot

    w = {"line": jnp.zeros(3)}
    slot = optimizer.init(w)
    for _ in range(8):
        w, slot = update(w, slot)
    train_state, losses = run(optax.lbfgs(), 8)
    np.testing.assert_allclose(train_state.params["line"], w["line"], rtol=1e-4)
    # Eight updates are enough: the gradient vanishes, and no loss is above the one before it.
    gradient = jax.grad(mean_loss)(train_state.params["line"], BATCH["x"], BATCH["y"])
    assert float(jnp.linalg.norm(gradient)) < 1e-3
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(losses))


def test_the_line_search_sees_the_noise_of_the_gradient():
    """With noise on x, the loss that lbfgs accepts is the value of the same draw at the new parameters."""
    objective = regression(noise=0.5)
    batch = {"x": BATCH["x"], "y": BATCH["y"]}
    step = training.descend(objective, "model", optax.lbfgs())
    train_state = training.start(jax.random.key(0), step, objective, batch)
    key, before = jax.random.key(5), train_state.progress
    loss = objective.players["model"].loss
    progress, metrics = jax.jit(step.update)(key, before, batch)
    after, _ = loss(jax.random.clone(key), progress.params, before.state, batch)
    found = progress.slot[-1].value
    np.testing.assert_allclose(found, after, rtol=1e-5)
    other, _ = loss(jax.random.key(6), progress.params, before.state, batch)
    assert abs(float(other) - float(found)) > 1e-3 * abs(float(found))
    assert float(after) < float(metrics["loss/model"])


@pytest.mark.first(1)
@pytest.mark.parametrize("wrap", [lambda step: step, training.guarded, lambda step: training.accumulated(step, 2)])
def test_lbfgs_inside_combinators(wrap):
    train_state, _ = run(optax.lbfgs(), 8, wrap=wrap)
    gradient = jax.grad(mean_loss)(train_state.params["line"], BATCH["x"], BATCH["y"])
    assert float(jnp.linalg.norm(gradient)) < 1e-3


def test_a_plateau_reduces_the_learning_rate():
    """With steps so long that the loss does not fall, the scale halves after each two updates that gain nothing."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2, rtol=0.0, atol=1e-6)
    train_state, losses = run(optax.chain(optax.sgd(20.0), plateau), 40)
    best, waited, scale = np.inf, 0, 1.0
    for value in losses:
        best, waited = (value, 0) if value < best - 1e-6 else (best, waited + 1)
        if waited >= 2:
            scale, waited = scale / 2, 0
    assert scale < 0.1
    np.testing.assert_allclose(float(train_state.slot[1].scale), scale)
    fixed, _ = run(optax.sgd(20.0), 40)
    assert mean_loss(train_state.params["line"], X, Y) < mean_loss(fixed.params["line"], X, Y) - 0.01


def test_schedule_free_is_evaluated_at_its_average():
    optimizer = optax.contrib.schedule_free_sgd(0.5)
    train_state, _ = run(optimizer, 20)
    w = {"line": jnp.zeros(3)}
    slot = optimizer.init(w)
    step = jax.jit(lambda w, slot: optimizer.update(jax.grad(lambda w: mean_loss(w["line"], X, Y))(w), slot, w))
    for _ in range(20):
        updates, slot = step(w, slot)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(train_state.params["line"], w["line"], rtol=1e-4)
    expected = optax.contrib.schedule_free_eval_params(slot, w)["line"]
    seen = training.evaluated(train_state).params["line"]
    np.testing.assert_allclose(seen, expected, rtol=1e-4)
    assert float(jnp.max(jnp.abs(seen - w["line"]))) > 1e-3


def test_lookahead_is_refused_when_the_step_is_made():
    with pytest.raises(TypeError, match=r"optax.lookahead, whose parameters are pairs .* training.averaged"):
        training.descend(logistic(), "model", optax.lookahead(optax.sgd(0.1), 5, 0.5))
