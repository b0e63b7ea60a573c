"""Sequences of several lengths in arrays of one."""

from __future__ import annotations

__all__ = ["inside", "possible"]

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.core.types import Array


def inside(name: str, lengths: Array, sequences: int, length: int) -> Array:
    """Return which steps are before the end of their sequence, ``[sequences, length]``.

    Args:
      lengths: how many steps each sequence has, integers ``[sequences]`` from 1 to `length`; values are checked where
        they are concrete, and `possible` tells of the others.

    Raises:
      ValueError: the lengths are not integers, not one a sequence, or out of range.
    """
    if lengths.shape != (sequences,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"{name}: lengths must be integers [{sequences}], one for each sequence, got "
            f"{lengths.dtype}{list(lengths.shape)}; count the steps of each before they are padded."
        )
    if not isinstance(lengths, Tracer):
        each = np.asarray(lengths)
        if (bad := np.flatnonzero((each < 1) | (each > length))).size:
            raise ValueError(
                f"{name}: lengths must be from 1 to {length}, the steps of the arrays, got {each[bad[0]]} for sequence "
                f"{bad[0]}, and {len(bad) - 1} more out of range; leave out sequences that are empty."
            )
    return jnp.arange(length)[None] < lengths[:, None]


def possible(lengths: Array, length: int) -> Array:
    """Return 0 for sequences whose length is from 1 to `length` and NaN for others, floating point ``[sequences]``.

    In compiled code, where values cannot be checked, it is added to log-densities, so that what is wrong is seen.

    Args:
      lengths: integers ``[sequences]``.
    """
    return jnp.where((lengths >= 1) & (lengths <= length), 0.0, jnp.nan)
