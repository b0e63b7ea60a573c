"""Samplers of categorical data: from noise to data by one network, with as many steps as one likes, in one scan."""

from __future__ import annotations

__all__ = ["discrete_ancestral", "drawn_states"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.types import Array, Key
from vifx.diffusion.samplers import Sampler
from vifx.loops import scan


def discrete_ancestral(*, steps: int = 256, temperature: float = 1.0) -> Sampler:
    """Step by step as a reverse chain of that many steps: ``z_s ~ q(z_s | z_t)`` by x̂(z_t, t).

    Args:
      steps: how many, at equally spaced times.
      temperature: τ of ``x̂^(1/τ)``, normalized: below 1 for more likely samples, which are then not those of the model.

    Raises:
      ValueError: `steps` < 1, or a temperature that is not positive.

    Reference: Austin et al. (2021), arXiv:2107.03006.
    """
    require_integer(steps, "discrete_ancestral: steps")
    require_number(temperature, "discrete_ancestral: temperature", above=0)

    def draw(key: Key, chain: Any, last: Array, examples: Array | None) -> Array:
        return drawn_states(key, chain, last, steps, examples=examples, temperature=temperature)[:, 0]

    return Sampler(draw, f"discrete_ancestral(steps={steps}, temperature={temperature:g})")


def drawn_states(
    key: Key, chain: Any, last: Array, steps: int, *, examples: Array | None = None, temperature: float
) -> Array:
    """Draw a path from its last point: ``[rows, steps + 1, *event]``, z_0 first."""
    noise = chain.noise
    grid = noise.survival.grid(steps + 1)
    states = jnp.arange(noise.states, dtype=last.dtype)

    def back(z: Array, each: tuple[Key, Array, Array]) -> tuple[Array, Array]:
        own, before, alpha = each
        log_data = chain.restore(z, jnp.broadcast_to(alpha, z.shape[:1]), examples)
        if temperature != 1:
            log_data = jax.nn.log_softmax(log_data / temperature)
        if noise.masks:
            log_data = jnp.pad(log_data, [(0, 0)] * z.ndim + [(0, 1)], constant_values=-jnp.inf)
        every = jnp.broadcast_to(states, log_data.shape)
        stays = jnp.where(every == z[..., None], 0.0, -jnp.inf).astype(log_data.dtype)
        kept = (alpha / before).astype(log_data.dtype)
        moved = noise.log_mixed(stays, jnp.broadcast_to(z[..., None], every.shape), kept)
        logits = moved + noise.log_mixed(log_data, every, before.astype(log_data.dtype))
        drawn = jax.random.categorical(own, logits).astype(z.dtype)
        return drawn, drawn

    first, path = scan(back, last, (jax.random.split(key, steps), grid[:-1], grid[1:]), reverse=True)
    # The first point is apart, so that a program which reads it alone keeps no path.
    later = jnp.concatenate([path[1:], last[None]])
    return jnp.concatenate([first[:, None], jnp.moveaxis(later, 0, 1)], axis=1)
