"""How experiments with a flow train: warm-up, average, weight decay."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.known_models import model, scaled

import vifx
from vifx import data, flows, training
from vifx.experiment import averaged_adam, density_flow


def test_the_trainer_warms_up_and_averages():
    """Of the loss E|z|²/2 with z = x + shift at x = 1000: Adam's first steps are the step size."""
    generative, _, _ = model(scaled(1.0))
    inference = vifx.Joint(vifx.evidence("x"))
    objective = vifx.kl(inference, generative)
    config = density_flow.Config(steps=40, warmup=100, learning_rate=0.1, decay=0.5, data=data.Config(batch_size=1))
    step = averaged_adam.trainer(objective, config)
    batch = {"x": jnp.full((4, 2, 3, 1), 1000.0)}
    start = vifx.training.start(jax.random.key(0), step, objective, batch)
    run = vifx.training.compile(step)
    shifts, state = [0.0], start
    for _ in range(4):
        state, _ = run(state, batch)
        shifts.append(float(state.params["flow"]["shift"]))
    # Warm-up is a tenth of the updates: 0, ¼, ½ and ¾ of the rate.
    np.testing.assert_allclose(-np.diff(shifts), 0.1 * np.arange(4) / 4, rtol=1e-4, atol=1e-4)
    average = vifx.training.averaged_params(state)["flow"]["shift"]
    weights = 0.5 ** np.arange(3, -1, -1)
    assert float(average) == pytest.approx(weights @ shifts[1:] / weights.sum(), rel=1e-4)


@pytest.mark.thorough
def test_weight_decay_takes_from_the_weights_of_couplings_alone():
    """Two updates, of which the first has a step size of zero: what differs is −rate · decay · weight."""
    config = density_flow.Config(steps=20, learning_rate=0.01)
    bijection = flows.chain(flows.linear(), flows.actnorm(), flows.realnvp(2, hidden=(3,)))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(4), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    batch = {"x": jax.random.normal(jax.random.key(0), (50, 4))}
    params, state = objective.init(jax.random.key(1), batch)

    def trained(decay):
        step = averaged_adam.trainer(objective, config, weight_decay=decay)
        progress = training.Progress(params, state, step.init(jax.random.key(2), params, state))
        for seed in range(2):
            progress, _ = jax.jit(step.update)(jax.random.key(seed), progress, batch)
        return jax.tree_util.tree_leaves_with_path(progress.params)

    compared = zip(trained(2.0), trained(0.0), jax.tree_util.tree_leaves_with_path(params), strict=True)
    weights = 0
    for (path, one), (_, other), (_, start) in compared:
        decayed = "'weight'" in jax.tree_util.keystr(path)
        rate = 0.005  # halfway through a warm-up of two updates
        weights += decayed
        expected = other - rate * 2.0 * start if decayed else other
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-7)
    assert weights == 4
