"""Integrals of two-dimensional densities over a grid."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vifx.distributions import standard_normal
from vifx.flows import Flow


def mass(bijection, params, state, given=None, *, extent=8.0, points=161):
    """The integral of the flow's density over a square, given one row: 1 if the square holds all of it."""
    axis = np.linspace(-extent, extent, points)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    own = None if given is None else jnp.broadcast_to(given[:1], (len(grid), given.shape[1]))
    flow = Flow(standard_normal(2), bijection)
    log_prob = jax.jit(lambda params, x, given: flow.log_prob(params, state, x, given))(params, grid, own)
    return float(jnp.sum(jnp.exp(log_prob))) * (axis[1] - axis[0]) ** 2
