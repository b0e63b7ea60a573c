"""Input layers: evidence as it is stored, turned into what a network multiplies."""

from __future__ import annotations

__all__ = ["OneHot", "Pixels", "enter"]

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.core.types import Array


class Pixels(nn.Module):
    """8-bit pixels to floats in [−1, 1]: ``(x − 127.5)/127.5``, the scale of `DiscretizedLogistic`.

    >>> import jax.numpy as jnp
    >>> Pixels()(jnp.array([0, 255], jnp.uint8)).tolist()
    [-1.0, 1.0]
    """

    def __call__(self, x: Array) -> Array:
        """Scale pixels 0..255 of any shape: integers, or the same values in half precision.

        Raises:
          TypeError: if `x` is in single or double precision, since such floats are scaled already.
        """
        if jnp.issubdtype(x.dtype, jnp.integer):
            x = x.astype(float)
        elif x.dtype not in (jnp.bfloat16, jnp.float16):
            raise TypeError(
                f"Pixels expects integers 0..255, but got dtype {x.dtype}; leave the evidence unscaled, or "
                "leave out the Pixels layer"
            )
        return (x - 127.5) / 127.5


class OneHot(nn.Module):
    """Integer labels to unit vectors: ``[examples, ...] → [examples, ..., classes]``.

    Floating weights that already have the axis of classes (mixed labels) pass unchanged.

    Attributes:
      classes: the number of values.

    >>> import jax.numpy as jnp
    >>> OneHot(3)(jnp.array([2])).tolist()
    [[0.0, 0.0, 1.0]]
    """

    classes: int

    def __call__(self, y: Array) -> Array:
        """Encode labels.

        Raises:
          ValueError: if `y` is floating and its last axis is not the classes.
        """
        if jnp.issubdtype(y.dtype, jnp.integer):
            return jax.nn.one_hot(y, self.classes)
        if y.ndim < 2 or y.shape[-1] != self.classes:
            raise ValueError(
                f"OneHot expects integers, or weights over {self.classes} classes, but got dtype {y.dtype} and shape "
                f"{y.shape}"
            )
        return y


def enter(layers: Sequence[nn.Module | None], parents: Sequence[Array]) -> tuple[Array, ...]:
    """Apply its input layer to each parent; a parent stays as it is if `layers` is empty or its entry is None.

    Raises:
      ValueError: if there are layers, but not one per parent.
    """
    if not layers:
        return tuple(parents)
    if len(layers) != len(parents):
        raise ValueError(
            f"inputs must have one entry per parent, but has {len(layers)} for {len(parents)} parents; "
            "write None for a parent that needs no input layer"
        )
    return tuple(x if layer is None else layer(x) for layer, x in zip(layers, parents, strict=True))
