"""A gated PixelCNN: what each place depends on, and that probabilities sum to one."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import networks

KEY = jax.random.key(0)


@pytest.mark.parametrize("grid", [(3, 4), pytest.param((5, 3), marks=pytest.mark.thorough)])
def test_each_place_depends_on_all_before_it_and_no_other(grid):
    """Changing one symbol changes the logits of every later place, and of none up to its own."""
    length, classes = grid[0] * grid[1], 3
    net = networks.autoregressive(
        networks.MaskedGrid(classes, grid, features=8, depth=3), length=length, classes=classes
    )
    params, state = net.init(KEY)
    law, _ = net.apply(params, state)
    base = jnp.asarray(np.random.default_rng(0).integers(0, classes, length), jnp.int32)
    changed = (jnp.eye(length, dtype=jnp.int32) + base[None]) % classes
    apart = np.abs(np.asarray(law.logits(changed) - law.logits(base[None]))).max(-1) > 0
    assert np.array_equal(apart, np.triu(np.ones((length, length), bool), 1))


@pytest.mark.thorough
def test_it_is_a_distribution_over_grids_and_samples_follow_it():
    net = networks.autoregressive(networks.MaskedGrid(2, (2, 2), features=6, depth=2), length=4, classes=2)
    joint = vifx.Joint(vifx.factor("k", net, name="prior"))
    params, state = joint.init(KEY, {}, examples=1)
    params = jax.tree.map(lambda leaf: 2 * leaf, params)
    every = jnp.asarray(list(itertools.product(range(2), repeat=4)), jnp.int32)
    probability = np.exp(joint.log_prob(params, state, {"k": every})["k"])
    np.testing.assert_allclose(probability.sum(), 1, rtol=1e-5)
    drawn = np.asarray(joint.sample(jax.random.key(1), params, state, examples=4000).values["k"])
    share = np.bincount(drawn @ [8, 4, 2, 1], minlength=16) / 4000
    np.testing.assert_allclose(share, probability, atol=5 * np.sqrt(0.25 / 4000))
