"""A value as a distribution."""

from __future__ import annotations

__all__ = ["PointMass"]

from typing import NamedTuple

import jax.numpy as jnp

from vifx.core.types import Array, Key


class PointMass(NamedTuple):
    """The distribution δ(value): it can be sampled and has no density.

    Attributes:
      value: the point of each example, ``[examples, *event]``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> PointMass(jnp.array([1.0, 2.0])).sample(jax.random.key(0), (3,)).shape
      (3, 2)
    """

    value: Array

    @property
    def mean(self) -> Array:
        """The point itself."""
        return self.value

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Return the point itself, repeated: ``[*sample_shape, examples, *event]``."""
        del key
        return jnp.broadcast_to(self.value, (*sample_shape, *self.value.shape))
