"""Positions of a sequence as sines and cosines."""

from __future__ import annotations

__all__ = ["add_positions", "sinusoids"]

import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array


def sinusoids(length: int, features: int) -> np.ndarray:
    """Return ``sin(t / 10000^(2i/n))`` in column 2i and the cosine in column 2i + 1, float32 ``[length, n]``.

    They are computed on the host, so that those of a position do not depend on how many there are.

    Args:
      length: how many positions t = 0, 1, … there are.
      features: n, an even number.

    Raises:
      ValueError: if `features` is not even and positive.

    Reference: Vaswani et al., Attention Is All You Need, 2017, section 3.5.

    >>> print(sinusoids(2, 2).round(2))
    [[0.   1.  ]
     [0.84 0.54]]
    """
    if features < 2 or features % 2:
        raise ValueError(f"features of positions must be an even number, sines and cosines, got {features}")
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, features, 2)[None] / features)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, features).astype(np.float32)


def add_positions(x: Array, features: int) -> Array:
    """Concatenate `sinusoids` to sequences: ``[examples, length, channels] → [examples, length, channels + n]``.

    Args:
      x: the sequences.
      features: n, an even number.

    Raises:
      ValueError: if `features` is not even and positive.
    """
    examples, length, _ = x.shape
    here = jnp.asarray(sinusoids(length, features), x.dtype)[None]
    return jnp.concatenate([x, jnp.broadcast_to(here, (examples, length, features))], axis=-1)
