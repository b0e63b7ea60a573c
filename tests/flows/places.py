"""Random places in a bijection's space of parameters, made by one compiled program."""

from __future__ import annotations

import jax
from flows.oracle import perturbed


def place(bijection, x, given=None, *, scale=1.0, seed=0):
    """Initialize on data and move away from there: parameters and state."""

    @jax.jit
    def draw(x, given):
        params, state = bijection.init(jax.random.key(seed), x, given)
        return perturbed(jax.random.key(seed + 1), params, scale), state

    return draw(x, given)
