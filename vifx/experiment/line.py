"""Exact answers for experiments on the line."""

from __future__ import annotations

__all__ = ["best_normal"]

import math

import jax
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.data import Modes
from vifx.divergences import Divergence, nearest_normal


def best_normal(divergence: Divergence, modes: Modes) -> tuple[float, float]:
    """Return mean and scale of the normal nearest to a mixture on the line by a divergence, by quadrature."""
    centres, scales, weights = (jnp.asarray(each, float) for each in (modes.centres[:, 0], modes.scale, modes.weights))

    def log_prob(x: Array) -> Array:
        standard = (x[..., None] - jnp.expand_dims(centres, range(x.ndim))) / jnp.expand_dims(scales, range(x.ndim))
        constants = jnp.log(weights) - jnp.log(scales * math.sqrt(2 * math.pi))
        return jax.nn.logsumexp(jnp.expand_dims(constants, range(x.ndim)) - 0.5 * standard**2, axis=-1)

    reach = 8 * float(modes.scale.max())
    grid = jnp.linspace(float(modes.centres.min()) - reach, float(modes.centres.max()) + reach, 4001)
    found = nearest_normal(divergence, log_prob, grid)
    return float(found.loc), float(found.scale)
