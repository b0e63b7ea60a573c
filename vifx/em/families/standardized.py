"""Sequences that are observed in part, with mean 0 and variance 1, and parameters in either units."""

from __future__ import annotations

__all__ = ["in_units", "of_standardized", "standardized"]

from collections.abc import Mapping

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.em.families.whitening import Whitening


def standardized(x: Array, observed: Array | None) -> tuple[Whitening, Array, Array]:
    """Return the map that makes what is observed of each element have mean 0 and variance 1, and the values, 0 else."""
    seen = jnp.ones(x.shape, bool) if observed is None else jnp.broadcast_to(observed, x.shape)
    count = jnp.maximum(jnp.sum(seen, axis=(0, 1)), 1).astype(x.dtype)
    shift = jnp.sum(jnp.where(seen, x, 0), axis=(0, 1)) / count
    apart = jnp.where(seen, x - jnp.broadcast_to(shift, x.shape), 0)
    variance = jnp.sum(apart**2, axis=(0, 1)) / count
    scale = 1 / jnp.sqrt(jnp.where(variance > jnp.finfo(x.dtype).tiny, variance, 1))
    return Whitening(shift, scale), apart * jnp.broadcast_to(scale, x.shape), jnp.max(count)


def in_units(white: Mapping[str, Array], state: Whitening) -> dict[str, Array]:
    """Return parameters in the units of the data."""
    scale = 1 / state.matrix
    moved = {name: value * (scale if value.ndim == 1 else scale[:, None]) for name, value in white.items()}
    return {**moved, "mean": moved["mean"] + state.shift}


def of_standardized(params: Mapping[str, Array], state: Whitening) -> dict[str, Array]:
    """Return parameters of the standardized data."""
    scale = state.matrix
    own = {**params, "mean": params["mean"] - state.shift}
    return {name: value * (scale if value.ndim == 1 else scale[:, None]) for name, value in own.items()}
