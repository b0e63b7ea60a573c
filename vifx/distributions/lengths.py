"""Sequences of several lengths in arrays of one."""

from __future__ import annotations

__all__ = ["increasing", "inside", "possible"]

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
    return jnp.arange(length, dtype=lengths.dtype)[None] < lengths[:, None]


def possible(lengths: Array, length: int) -> Array:
    """Return 0 for sequences whose length is from 1 to `length` and NaN for others, floating point ``[sequences]``.

    In compiled code, where values cannot be checked, it is added to log-densities, so that what is wrong is seen.

    Args:
      lengths: integers ``[sequences]``.
    """
    return jnp.where((lengths >= 1) & (lengths <= length), 0.0, jnp.nan)


def increasing(name: str, times: Array, shape: tuple[int, ...], lengths: Array | None) -> Array:
    """Return 0 for sequences whose times increase up to their end and NaN for others, floating point, of `shape[:-1]`.

    Values are checked where they are concrete; in compiled code what is returned is added to log-densities.

    Args:
      times: floating point, of shape `shape`, whose last axis is the steps.
      lengths: how many steps each sequence has; None for all, as where there is one row of times.

    Raises:
      ValueError: the times are not floating, have another shape, or do not increase.
    """
    if times.shape != shape or not jnp.issubdtype(times.dtype, jnp.floating):
        raise ValueError(
            f"{name}: times must be floating point {list(shape)}, one for each step, got "
            f"{times.dtype}{list(times.shape)}; give the times at which the steps were observed."
        )
    rises = jnp.diff(times, axis=-1) > 0
    if lengths is not None and times.ndim > 1:
        rises = rises | (jnp.arange(1, shape[-1], dtype=lengths.dtype)[None] >= lengths[:, None])
    if not isinstance(rises, Tracer) and not (each := np.asarray(rises)).all():
        *row, step = (int(i) for i in np.argwhere(~each)[0])
        late = np.asarray(times)[tuple(row) if times.ndim > 1 else ()]
        raise ValueError(
            f"{name}: times must increase from step to step, got {late[step]:g} and then {late[step + 1]:g} at steps "
            f"{step} and {step + 1}{f' of sequence {row[0]}' if row else ''}; sort the steps, and merge those of one "
            "time."
        )
    return jnp.where(jnp.all(rises, axis=-1), 0.0, jnp.nan)
