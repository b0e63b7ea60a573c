"""W10: a training step of flow matching, points of the plane, batch 512, against a scan by hand of the same network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import vifx
from benchmarks.conftest import scanned
from vifx import flows, networks

pytestmark = pytest.mark.benchmark

EXAMPLES, BLOCK = 512, 20


@pytest.mark.parametrize("pairing", ["independent", "optimal"])
def test_a_training_step_of_flow_matching(pairing, ratio):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(EXAMPLES, 2)), jnp.float32)
    network = networks.PointDenoiser((128, 128, 128))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), flows.continuous(network), name="velocity"))
    objective = vifx.flow_matching(vifx.Joint(vifx.evidence("x")), generative, pairing=pairing)
    whole, state = objective.init(jax.random.key(0), {"x": x})
    start = whole["velocity"]

    def own(params, key):
        return objective.players["model"].loss(key, {"velocity": params}, state, {"x": x})[0]

    def order(cost):
        return linear_sum_assignment(np.asarray(cost, np.float64))[1].astype(np.int32)

    def loss(params, key):
        times, noisy = jax.random.split(key)
        t = ((jax.random.uniform(times) + jnp.arange(EXAMPLES) / EXAMPLES) % 1.0)[:, None]
        noise = jax.random.normal(noisy, x.shape)
        if pairing == "optimal":
            noise = noise[jax.pure_callback(order, jax.ShapeDtypeStruct((EXAMPLES,), jnp.int32), -x @ noise.T)]
        found = network.apply({"params": params}, (1 - t) * x + t * noise, t)
        return jnp.mean(jnp.sum((found - (noise - x)) ** 2, axis=1))

    ours, theirs = (scanned(each, start, BLOCK) for each in (own, loss))
    assert float(ours()[0]) == pytest.approx(float(theirs()[0]), rel=0.2)
    label = f"a training step of flow matching, {pairing} pairs"
    assert ratio(label, ours, theirs, blocks=9, per_block=BLOCK) >= 0.9
