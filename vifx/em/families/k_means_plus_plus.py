"""Where the states of a family start: seeds spread over the data, or responsibilities at random."""

from __future__ import annotations

__all__ = ["k_means_plus_plus", "nearest_seeds", "random_responsibilities"]

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Key


def k_means_plus_plus(key: Key, x: Array, states: int) -> Array:
    """Choose examples as seeds, each with a probability proportional to its squared distance from those before.

    Args:
      x: ``[examples, d]``.

    Returns:
      The indices of the seeds, ``[states]``.

    References:
      Arthur & Vassilvitskii (2007), k-means++: the advantages of careful seeding.
    """
    x = _centred(x)
    squares = jnp.sum(x**2, axis=1)

    def distance(at: Array) -> Array:
        return jnp.maximum(squares + squares[at] - 2 * (x @ x[at]), 0)

    def choose(nearest: Array, number: Array) -> tuple[Array, Array]:
        # Before the first seed, and where every example is a seed already, any is as good.
        most = jnp.max(nearest)
        logits = jnp.where((most > 0) & (most < jnp.inf), jnp.log(nearest), jnp.zeros_like(nearest))
        at = jax.random.categorical(jax.random.fold_in(key, number), logits)
        return jnp.minimum(nearest, distance(at)), at

    return jax.lax.scan(choose, jnp.full_like(squares, jnp.inf), jnp.arange(states))[1]


def nearest_seeds(key: Key, x: Array, states: int) -> Array:
    """Give each example to the nearest of `states` seeds: responsibilities 0 or 1, ``[examples, states]``.

    Args:
      key: random key for the choice of seeds, by `k_means_plus_plus`.
      x: ``[examples, d]``.
    """
    x = _centred(x)
    seeds = x[k_means_plus_plus(key, x, states)]
    distance = jnp.sum(seeds**2, axis=1)[None] - 2 * (x @ seeds.T)
    return jax.nn.one_hot(jnp.argmin(distance, axis=1), states, dtype=x.dtype)


def _centred(x: Array) -> Array:
    """Subtract the mean, without which expanded squares would cancel far from the origin."""
    return x - jnp.mean(x, axis=0, keepdims=True)


def random_responsibilities(key: Key, examples: int, states: int) -> Array:
    """Draw responsibilities uniformly from the simplex, ``[examples, states]``."""
    return jax.random.dirichlet(key, jnp.ones(states, jnp.result_type(float)), (examples,))
