"""Where a family starts: statistics of seeds, a chunk of features at a time."""

from __future__ import annotations

__all__ = ["needs_values", "seeded", "softened"]

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Key, PyTree
from vifx.em.families.k_means_plus_plus import nearest_seeds

CHUNK = 4096


def needs_values(name: str, value: Array | None) -> Array:
    """Return the values, which must be there.

    Raises:
      ValueError: there are none: the variable is latent.
    """
    if value is None:
        raise ValueError(
            f"{name}: its parameters are initialized from data, but there are no values of its variable; give a batch "
            "that has them."
        )
    return value


def softened(key: Key, x: Array, states: int) -> Array:
    """Share an example between the nearest seed's state (4/5) and all: ``[examples, states]``.

    No state starts with a probability of exactly zero for what it has not seen, which EM could never leave.

    Args:
      x: ``[examples, d]``, where distances make sense.
    """
    return 0.8 * nearest_seeds(key, x, states) + 0.2 / states


def seeded(sums: Callable[[Array, Array], PyTree], x: Array, responsibilities: Array) -> PyTree:
    """Add up statistics over chunks of examples, so that features need no memory of the whole data.

    Args:
      sums: ``(x, responsibilities) -> statistics`` of some examples.
      x: ``[examples, *event]``.
      responsibilities: ``[examples, states]``.
    """
    examples = x.shape[0]
    if examples <= CHUNK:
        return sums(x, responsibilities)
    # An example that belongs to no state counts for nothing.
    more = -examples % CHUNK
    x = jnp.concatenate([x, jnp.broadcast_to(x[:1], (more, *x.shape[1:]))])
    responsibilities = jnp.concatenate([responsibilities, jnp.zeros((more, responsibilities.shape[1]), x.dtype)])
    chunks = (x.reshape(-1, CHUNK, *x.shape[1:]), responsibilities.reshape(-1, CHUNK, responsibilities.shape[1]))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(sums, *(c[0] for c in chunks)))

    def add(total: PyTree, chunk: tuple[Array, Array]) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, sums(*chunk)), None

    return jax.lax.scan(add, zeros, chunks)[0]
