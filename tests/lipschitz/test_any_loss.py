"""Gradient penalties on any network: random directions, the label's logit, and the loss around them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from lipschitz.oracles import normal

from vifx import training
from vifx.core.nets import from_functions
from vifx.core.objective import Objective, Player
from vifx.core.types import Aux
from vifx.distributions import Bernoulli
from vifx.lipschitz import gradient_penalty, penalized, r1, r2

AFFINE = from_functions(lambda key, x: {"kernel": jnp.eye(3)}, lambda params, x: x @ params["kernel"])
KERNEL = np.random.default_rng(0).normal(size=(5, 3))


def loss(key, params, state, batch, *, train=True):
    value = jnp.mean(batch["x"])
    return value, Aux({"nll/y": value}, {**state, "f": {"written": jnp.ones(())}})


def evaluate(transform, batch, kernel=KERNEL, seed=0):
    params, state = {"f": {"kernel": jnp.asarray(kernel)}}, {"f": {}}
    run = jax.jit(lambda params: transform(loss)(jax.random.key(seed), params, state, batch))
    value, aux = run(params)
    return float(value - loss(None, params, state, batch)[0]), aux


def test_a_random_direction_measures_the_jacobians_frobenius_norm(x64):
    n = 50_000
    batch = {"x": normal(1, n, 5)}
    added, aux = evaluate(penalized("f", AFFINE, r1(2.0)), batch)
    squares = np.linalg.svd(KERNEL)[1] ** 2
    # ‖Jᵀu‖² = Σ σ² u²: mean Σσ²/3; below, its standard deviation over the sphere in three dimensions.
    error = np.sqrt((2 * np.sum(squares**2) / 15 - 2 * np.sum(squares) ** 2 / 45) / n)
    assert added == pytest.approx(np.sum(squares) / 3, abs=5 * error)
    assert 5 * error < 0.02 * np.sum(squares)
    assert np.sqrt(squares[2]) < float(aux.metrics["penalty/gradient_norm"]) < np.sqrt(squares[0])
    assert float(aux.metrics["nll/y"]) == pytest.approx(float(jnp.mean(batch["x"])))
    assert float(aux.state["f"]["written"]) == 1.0


def test_no_direction_exceeds_the_spectral_norm(x64):
    limit = float(np.linalg.norm(KERNEL, 2))
    batch = {"x": normal(1, 500, 5)}
    assert evaluate(penalized("f", AFFINE, gradient_penalty(1.0, target=limit, one_sided=True)), batch)[0] == 0.0


def test_the_labels_logit(x64):
    labels = jnp.array([0, 2, 1, 1])
    columns = np.sum(KERNEL**2, axis=0)
    batch = {"x": normal(1, 4, 5), "y": labels}
    added, _ = evaluate(penalized("f", AFFINE, r1(2.0), label="y"), batch)
    assert added == pytest.approx(np.mean(columns[np.asarray(labels)]), rel=1e-12)
    soft = jnp.array([[0.5, 0.5, 0.0]] * 4)
    added, _ = evaluate(penalized("f", AFFINE, r1(2.0), label="soft"), {**batch, "soft": soft})
    assert added == pytest.approx(np.sum((0.5 * KERNEL[:, 0] + 0.5 * KERNEL[:, 1]) ** 2), rel=1e-12)


def test_scalar_outputs_are_taken_as_they_are_and_b_is_the_batch_shuffled(x64):
    quadratic = from_functions(lambda key, x: {}, lambda params, x: 0.5 * jnp.sum(x**2, axis=1))
    batch = {"x": normal(1, 6, 5)}
    squares = float(jnp.mean(jnp.sum(batch["x"] ** 2, axis=1)))
    assert evaluate(penalized("f", quadratic, r1(2.0)), batch)[0] == pytest.approx(squares, rel=1e-12)
    assert evaluate(penalized("f", quadratic, r2(2.0)), batch)[0] == pytest.approx(squares, rel=1e-12)
    # Between pairs of different examples the points are nearer to the centre.
    between, _ = evaluate(penalized("f", quadratic, gradient_penalty(1.0, target=0.0)), batch)
    assert between < 0.95 * squares


def test_several_entries_and_outputs_that_are_distributions(x64):
    def apply(params, x, z):
        return Bernoulli(logits=x @ params["kernel"] * z[:, None])

    net = from_functions(lambda key, x, z: {}, apply)
    kernel = np.eye(3)[:, :1]
    batch = {"x": normal(1, 4, 3), "z": 2 * jnp.ones(4)}
    transform = penalized("f", net, r1(2.0), entries=("x", "z"), output=lambda d: d.logits)
    # ℓ = ± x₀ z, so ‖∇‖² = z² + x₀².
    expected = 4 + float(jnp.mean(batch["x"][:, 0] ** 2))
    assert evaluate(transform, batch, kernel)[0] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TypeError, match="must be an array, got Bernoulli; give output="):
        evaluate(penalized("f", net, r1(2.0), entries=("x", "z")), batch, kernel)


class Normalized(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        return linen.BatchNorm(use_running_average=not train)(linen.Dense(1, use_bias=False)(x))[:, 0]


def test_the_network_is_penalized_as_it_is_evaluated_and_trained():
    from vifx.core.nets import as_net

    net = as_net(Normalized())

    def init(key, batch):
        params, state = net.init(key, batch["x"])
        return {"f": params}, {"f": state}

    def squares(key, params, state, batch, *, train=True):
        output, new = net.apply(params["f"], state["f"], batch["x"], train=train)
        return jnp.mean((output - batch["y"]) ** 2), Aux({}, {"f": new})

    objective = Objective(init, {"model": Player(("f",), squares)}, ())
    batch = {"x": normal(2, 16, 4, dtype=np.float32), "y": normal(3, 16, dtype=np.float32)}
    step = training.constrained(
        training.descend(objective, "model", optax.sgd(0.0)), loss=penalized("f", Normalized(), r1(2.0))
    )
    start = training.start(jax.random.key(0), step, objective, batch)
    progress, metrics = jax.jit(step.update)(jax.random.key(1), start.progress, batch)
    kernel = np.asarray(start.params["f"]["Dense_0"]["kernel"])[:, 0]
    norm = np.linalg.norm(kernel) / np.sqrt(1 + 1e-5)  # running statistics: variance 1
    assert float(metrics["penalty/gradient_norm"]) == pytest.approx(norm, rel=1e-5)
    plain, _ = squares(None, start.params, start.state, batch)
    assert float(metrics["loss/model"]) == pytest.approx(float(plain) + norm**2, rel=1e-5)
    assert not np.allclose(progress.state["f"]["batch_stats"]["BatchNorm_0"]["mean"], 0.0)


def test_bad_names_are_told():
    batch = {"x": jnp.ones((4, 5))}
    with pytest.raises(ValueError, match=r"unknown network 'g'.*There are: 'f'"):
        evaluate(penalized("g", AFFINE, r1(1.0)), batch)
    with pytest.raises(ValueError, match="the batch has no entry 'y'; there are: 'x'"):
        evaluate(penalized("f", AFFINE, r1(1.0), label="y"), batch)
    with pytest.raises(TypeError, match="must be a Net"):
        penalized("f", lambda x: x, r1(1.0))
    scalar = from_functions(lambda key, x: {}, lambda params, x: x[:, 0])
    with pytest.raises(ValueError, match=r"label= needs outputs \[examples, classes\]"):
        evaluate(penalized("f", scalar, r1(1.0), label="y"), {**batch, "y": jnp.zeros(4, jnp.int32)})
