"""The squared Hellinger distance."""

from __future__ import annotations

__all__ = ["squared_hellinger"]

from functools import partial

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.divergences.divergence import Divergence
from vifx.divergences.normals import normal_power
from vifx.divergences.numerics import defined_where, expm1, within_range


def _conjugate(t: Array) -> Array:
    return defined_where(t < 1, lambda inside: inside / (1 - inside), t, safe=0)


squared_hellinger = Divergence(
    name="squared_hellinger",
    formula="Σ (√P − √Q)²",
    latex=r"\sum \bigl(\sqrt{P} - \sqrt{Q}\bigr)^2",
    generator=lambda u: (jnp.sqrt(u) - 1) ** 2,
    critic_value=lambda ratio: -expm1(-0.5 * within_range(ratio, rise=0.5, fall=0.5)),
    conjugate_value=lambda ratio: expm1(0.5 * within_range(ratio, rise=0.5, fall=0.5)),
    conjugate=_conjugate,
    domain=(-jnp.inf, 1.0),
    conjugate_range=(-1.0, jnp.inf),
    activation=lambda v: 1 - jnp.exp(within_range(v, rise=1, fall=1)),
    activated_conjugate=lambda v: expm1(-within_range(v, rise=1, fall=1)),
    normal_value=partial(normal_power, order=0.5, factor=-2.0),
    opposite=lambda: squared_hellinger,
)
"""The squared Hellinger distance, ``f(u) = (√u − 1)²``: symmetric, at most 2."""
