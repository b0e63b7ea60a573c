"""Total variation."""

from __future__ import annotations

__all__ = ["total_variation"]

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.divergences.divergence import Divergence
from vifx.divergences.normals import normal_total_variation


def _conjugate(t: Array) -> Array:
    return jnp.where(t > 0.5, jnp.inf, jnp.maximum(t, -0.5))


total_variation = Divergence(
    name="total_variation",
    formula="½ Σ |P − Q|",
    latex=r"\tfrac12 \sum |P - Q|",
    generator=lambda u: 0.5 * jnp.abs(u - 1),
    critic_value=lambda ratio: 0.5 * jnp.sign(ratio),
    conjugate_value=lambda ratio: 0.5 * jnp.sign(ratio),
    conjugate=_conjugate,
    domain=(-0.5, 0.5),
    conjugate_range=(-0.5, 0.5),
    activation=lambda v: 0.5 * jnp.tanh(v),
    activated_conjugate=lambda v: 0.5 * jnp.tanh(v),
    normal_value=normal_total_variation,
    opposite=lambda: total_variation,
)
"""Total variation, ``f(u) = ½ |u − 1|``: at most 1, and symmetric.

Its ``T = ½ sign ℓ`` has no gradient, so a critic needs the activation ``½ tanh v``.
"""
