"""What every bijection must satisfy, by `flows.check` at random parameters, and Jacobians."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vifx import flows


def perturbed(key, params, scale=0.3):
    """Parameters at a random place around the initial ones, drawn by NumPy, which compiles nothing."""
    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def moved(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(np.asarray(leaf) + scale * draw.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(moved, params)


def jacobians(bijection, params, state, x, given=None, *, direction="forward"):
    """The Jacobian of every example, ``[examples, elements, elements]`` in float64, by automatic differentiation."""
    function = getattr(bijection, direction)

    def one(row, own):
        own = None if own is None else jax.tree.map(lambda leaf: leaf[None], own)
        return function(params, state, row[None], own)[0].reshape(-1)

    compiled = jax.jit(jax.vmap(jax.jacfwd(one), in_axes=(0, None if given is None else 0)))
    return np.asarray(compiled(x, given), np.float64).reshape(len(x), x[0].size, x[0].size)


def check(bijection, x, given=None, *, seed=0, scale=0.3, tolerance=1.0, params=None, state=None):
    """`flows.check` at random parameters; return them."""
    if params is None:
        params, state = jax.jit(bijection.init)(jax.random.key(seed), x, given)
        params = perturbed(jax.random.key(seed + 1), params, scale)
    flows.check(bijection, x, given, params=params, state=state, tolerance=tolerance)
    return params, state
