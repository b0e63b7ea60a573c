"""k-means, as a start of EM: hard EM of equal spherical components."""

from __future__ import annotations

__all__ = ["k_means"]

import jax
import jax.numpy as jnp

from vifx.checks import require_array, require_integer, require_key
from vifx.core.types import Array, Key
from vifx.em.families.k_means_plus_plus import k_means_plus_plus


def k_means(key: Key, x: Array, states: int, *, steps: int = 20) -> Array:
    """Assign each example to the nearest of the centres that Lloyd's iterations find from k-means++ seeds.

    Features are divided by their standard deviations. A centre that nothing is nearest to stays where it is.

    Args:
      key: random key for the seeds.
      x: ``[examples, *event]``.
      states: how many centres.
      steps: Lloyd's iterations; 0 leaves the seeds.

    Returns:
      Responsibilities, 0 or 1, ``[examples, states]``.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: `states` is not positive or exceeds the examples, or `steps` is negative.

    References:
      Lloyd (1982), Least squares quantization in PCM.
    """
    require_key(key)
    x = jnp.asarray(require_array(x, "k_means: x"))
    if require_integer(states, "k_means: states") > len(x):
        raise ValueError(f"k_means: states must not exceed the {len(x)} examples, got {states}.")
    require_integer(steps, "k_means: steps", least=0)
    flat = x.reshape(x.shape[0], -1)
    flat = flat if jnp.issubdtype(flat.dtype, jnp.floating) else flat.astype(jnp.result_type(float))
    flat = flat - jnp.mean(flat, axis=0, keepdims=True)
    scale = jnp.sqrt(jnp.mean(flat**2, axis=0, keepdims=True))
    flat = flat / jnp.where(scale > 0, scale, 1)

    def assign(centres: Array) -> Array:
        distance = jnp.sum(centres**2, axis=1)[None] - 2 * (flat @ centres.T)
        return jax.nn.one_hot(jnp.argmin(distance, axis=1), states, dtype=flat.dtype)

    def lloyd(centres: Array, _: None) -> tuple[Array, None]:
        nearest = assign(centres)
        counts = jnp.sum(nearest, axis=0)[:, None]
        return jnp.where(counts > 0, nearest.T @ flat / jnp.where(counts > 0, counts, 1), centres), None

    centres, _ = jax.lax.scan(lloyd, flat[k_means_plus_plus(key, flat, states)], length=steps)
    return assign(centres)
