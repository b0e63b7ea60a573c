"""Several seeds of a small model in one program, against the same chunks made seed by seed.

On a device that a small model leaves idle the ratio approaches the number of seeds. A CPU of few cores has little to
spare, and the ratio says what is saved of the cost of a call of each operation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import data, networks, training
from vifx.training.chunk import advance, advance_together, first_batch

pytestmark = pytest.mark.benchmark
SEEDS, CHUNK = 8, 200


def test_seeds_in_one_program(ratio):
    x = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    encoder = networks.Conditional(networks.MLP((32,)), networks.DiagonalNormal((2,)))
    decoder = networks.Conditional(networks.MLP((32,)), networks.DiagonalNormal((8,)))
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder")),
        vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder")),
    )
    step = training.optimize(objective, optax.adam(1e-3))
    sources = [data.Resident({"x": x}, 32, seed) for seed in range(SEEDS)]

    def begun():
        keys = [jax.random.key(seed) for seed in range(SEEDS)]
        return [
            training.start(key, step, objective, first_batch(key, source))
            for key, source in zip(keys, sources, strict=True)
        ]

    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *begun())
    together = advance_together(step, sources)

    def ours():
        nonlocal states
        states, metrics = together(states, 0, CHUNK)
        jax.block_until_ready(metrics)

    each = begun()
    opened = [advance(step, source, None, 0) for source in sources]
    alone = [manager.__enter__() for manager in opened]

    def theirs():
        for seed, chunk in enumerate(alone):
            each[seed], metrics = chunk(each[seed], 0, CHUNK)
            jax.block_until_ready(metrics)

    faster = ratio(f"{SEEDS} seeds in one program", ours, theirs, blocks=8, per_block=CHUNK)
    assert faster >= 1.0
