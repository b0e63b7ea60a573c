"""Random places in a bijection's space of parameters, drawn without compiling an initialization."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def place(bijection, x, given=None, *, scale=0.5, seed=0):
    """Normal parameters of the shapes that `init` makes, and the state, which has to have no elements."""
    params, state = jax.eval_shape(bijection.init, jax.random.key(0), x, given)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 0
    draw = np.random.default_rng(seed)
    numbers = lambda leaf: jnp.asarray(scale * draw.standard_normal(leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(numbers, params), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
