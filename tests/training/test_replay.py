"""The update that went wrong, found again: the same number, with the same noise and minibatch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import ToyResident, ToyStreaming

from vifx import training
from vifx.core.objective import Objective
from vifx.core.types import Aux
from vifx.training.replay import replay


def unlucky():
    """A loss that is not a number where a draw, or an example, is large."""

    def init(key, batch):
        return {"w": jnp.ones(())}, {"w": {}}

    def loss(key, params, state, batch, *, train=True):
        noise = jax.random.uniform(key, batch["x"].shape)
        with jax.named_scope("decoder"):
            value = jnp.mean(jnp.sqrt(0.98 - noise * batch["x"])) * params["w"]
        return value, Aux({"noise": jnp.mean(noise)}, {"w": {}})

    return Objective.of_loss(init, loss, owns=["w"])


@pytest.mark.thorough
@pytest.mark.parametrize("source", [ToyResident, ToyStreaming])
def test_the_same_update_fails_again(source):
    x = np.linspace(0.9, 1.0, 24, dtype=np.float32)
    objective, stream = unlucky(), source({"x": x}, 4, seed=3)
    step = training.optimize(objective, optax.sgd(1e-3))
    with pytest.raises(training.Diverged) as raised:
        training.fit(jax.random.key(2), step, objective, stream, steps=400, log_every=400)
    assert raised.value.step > 5
    state = training.start(jax.random.key(2), step, objective, {"x": jnp.asarray(x[:4])})
    found = replay(step, stream, state, raised.value.step)
    assert found.update == raised.value.step
    assert (found.origin.scope, found.origin.operation) == ("decoder", "sqrt")
    assert replay(step, stream, state, raised.value.step - 1) is None
