"""W8: a training step of a GRU, 100 steps, 64 sequences, 64 features, against Flax's own loop with its head by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from vifx import distributions as d
from vifx import dynamics, networks

pytestmark = pytest.mark.benchmark

STEPS, EXAMPLES, FEATURES, EVENT = 100, 64, 64, 4
BLOCK = 10


def test_a_training_step_of_a_gru(ratio):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(EXAMPLES, STEPS, EVENT)), jnp.float32)
    head, start = networks.DiagonalNormal((EVENT,)), d.standard_normal(EVENT)
    net = dynamics.chain(start, dynamics.recurrent(dynamics.gru(FEATURES), head), STEPS)
    params, state = net.init(jax.random.key(0))
    loop = linen.RNN(linen.GRUCell(FEATURES))
    optimizer = optax.adam(1e-3)

    def ours(params):
        return -jnp.mean(net.apply(params, state)[0].log_prob(x))

    def theirs(params):
        features = loop.apply({"params": {"cell": params["transition"]["cells"][0]}}, x[:, :-1])
        law = head.apply({"params": params["transition"]["head"]}, features.reshape(-1, FEATURES))
        later = law.log_prob(x[:, 1:].reshape(-1, EVENT)).reshape(EXAMPLES, -1)
        return -jnp.mean(start.log_prob(x[:, 0]) + jnp.sum(later, axis=1))

    def trained(loss):
        @jax.jit
        def step(params, slot):
            value, gradient = jax.value_and_grad(loss)(params)
            updates, slot = optimizer.update(gradient, slot)
            return optax.apply_updates(params, updates), slot, value

        def run():
            progress = params, optimizer.init(params)
            for _ in range(BLOCK):
                *progress, value = step(*progress)
            return jax.block_until_ready(value)

        return run

    own, other = trained(ours), trained(theirs)
    assert float(own()) == pytest.approx(float(other()), rel=1e-4)
    assert ratio("a GRU's training step", own, other, blocks=15, per_block=BLOCK) >= 0.9
