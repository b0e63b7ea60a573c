"""The two χ² divergences. Publications interchange their names: here the denominator decides."""

from __future__ import annotations

__all__ = ["neyman", "pearson"]

from functools import partial

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.divergences.divergence import Divergence
from vifx.divergences.normals import normal_power
from vifx.divergences.numerics import expm1, within_range


def _neyman_conjugate(t: Array) -> Array:
    inside = t < 1
    value = 2 - 2 * jnp.sqrt(jnp.where(inside, 1 - t, 1))
    return jnp.where(inside, value, jnp.where(t > 1, jnp.inf, 2))


def _neyman_generator(u: Array) -> Array:
    # Above 2 the square would overflow, and nothing cancels.
    near, far = jnp.where(u > 2, 2, u), jnp.where(u > 2, u, 2)
    return jnp.where(u > 2, far - 2 + 1 / far, (1 - near) ** 2 / near)


def _pearson_activated_conjugate(v: Array) -> Array:
    return 0.25 * jnp.exp(2 * within_range(v, rise=2)) - 1


pearson = Divergence(
    name="pearson",
    formula="Σ (P − Q)²/Q",
    latex=r"\sum \frac{(P - Q)^2}{Q}",
    generator=lambda u: (u - 1) ** 2,
    critic_value=lambda ratio: 2 * expm1(within_range(ratio, rise=2)),
    conjugate_value=lambda ratio: expm1(2 * within_range(ratio, rise=2)),
    conjugate=lambda t: jnp.where(t > -2, t + 0.25 * t**2, -1),
    domain=(-2.0, jnp.inf),
    conjugate_range=(-1.0, jnp.inf),
    activation=lambda v: jnp.exp(within_range(v, rise=2)) - 2,
    activated_conjugate=_pearson_activated_conjugate,
    normal_value=partial(normal_power, order=2.0, factor=1.0),
    opposite=lambda: neyman,
)
"""Pearson's χ², ``f(u) = (u − 1)²``, divided by **Q**, the second argument (the expected counts of his test).

Publications on f-GANs also call this one Neyman's. The conjugate is −1 for t ≤ −2, since u ≥ 0.
"""

neyman = Divergence(
    name="neyman",
    formula="Σ (P − Q)²/P",
    latex=r"\sum \frac{(P - Q)^2}{P}",
    generator=_neyman_generator,
    critic_value=lambda ratio: -expm1(-2 * within_range(ratio, fall=2)),
    conjugate_value=lambda ratio: -2 * expm1(-within_range(ratio, fall=2)),
    conjugate=_neyman_conjugate,
    domain=(-jnp.inf, 1.0),
    conjugate_range=(-jnp.inf, 2.0),
    activation=lambda v: 1 - jnp.exp(within_range(v, rise=1)),
    activated_conjugate=lambda v: 2 - 2 * jnp.exp(0.5 * within_range(v, rise=1)),
    normal_value=partial(normal_power, order=-1.0, factor=1.0),
    opposite=lambda: pearson,
)
"""Neyman's χ², ``f(u) = (1 − u)²/u``, divided by **P**, the first argument (the observed counts of his test).

Publications on f-GANs also call this one Pearson's. It is Pearson's with the arguments swapped.
"""
