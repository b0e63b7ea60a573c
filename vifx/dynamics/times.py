"""Times at which a path is wanted, and the steps of fixed size that lead from each to the next."""

from __future__ import annotations

__all__ = ["Grid", "known_times", "segment_grid", "step_grid"]

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpy.typing import NDArray

from vifx.checks import require_integer, require_number
from vifx.core.types import Array
from vifx.dynamics.field import require_values


class Grid(NamedTuple):
    """Steps in groups of equal number, so that one loop goes over the groups, and one over the steps of each.

    Attributes:
      starts: the time at which each group starts, ``[groups]`` or ``[groups, examples, 1]``.
      lengths: the length of each of its steps, likewise.
      steps: how many steps a group has.
      ends: for each time after the first, the number of the group that ends there.
    """

    starts: Array
    lengths: Array
    steps: int
    ends: NDArray[Any]


def known_times(times: Any, owner: str, *, examples: int) -> Array | NDArray[Any]:
    """Return times ``[times]`` or ``[examples, times]`` that increase.

    Inside a compiled function their values are not known: where they do not increase, the grid is NaN.

    Args:
      times: two or more, real or integers.
      owner: who asks, for messages.
      examples: how many rows there are if each example has its own.

    Raises:
      ValueError: wrong shape, fewer than two, not finite, or not increasing; the message says where.
    """
    require_values(times, f"{owner}: times")
    if not isinstance(times, Tracer):
        times = np.asarray(times)
        times = times if np.issubdtype(times.dtype, np.floating) else times.astype(np.float64)
    shape = times.shape
    if len(shape) not in (1, 2) or shape[-1] < 2 or (len(shape) == 2 and shape[0] != examples):
        raise ValueError(
            f"{owner}: times must have the shape [times] or [{examples}, times] with at least 2 times, got "
            f"{list(shape)}; the first is that of x0."
        )
    if isinstance(times, np.ndarray):
        wrong = np.argwhere(~(np.diff(times, axis=-1) > 0))
        if len(wrong):
            *example, at = (int(place) for place in wrong[0])
            whose = f" of example {example[0]}" if example else ""
            before, after = (float(value) for value in times[(*example, slice(at, at + 2))])
            raise ValueError(
                f"{owner}: times must increase, but times[{at}] = {before:g} is followed by times[{at + 1}] = "
                f"{after:g}{whose}; sort them, merge equal ones, and give padding times after the last."
            )
    return times


def step_grid(times: Any, dtype: Any, *, substeps: int | None, step: float | None, owner: str) -> Grid:
    """Divide the intervals between times into steps.

    Args:
      times: of `known_times`.
      dtype: of the result.
      substeps: how many equal steps each interval has; None for 1, or for `step`.
      step: the longest length of a step; each interval is divided into as few equal ones as that allows, the same
        number for all examples.
      owner: who asks, for messages.

    Raises:
      ValueError: both are given, one is out of range, or `step` is given with times that are not known.
    """
    counts = _counts(times, substeps=substeps, step=step, owner=owner)
    group = math.gcd(*counts)
    owners = np.repeat(np.arange(len(counts)), [count // group for count in counts])
    within = np.concatenate([np.arange(count // group) for count in counts]) * group
    times = times if isinstance(times, Tracer) else jnp.asarray(times)
    per_group = _lengths(times, counts)[..., owners]
    starts = times[..., :-1][..., owners] + _last_axis(within, times) * per_group
    if times.ndim == 2:
        starts, per_group = (jnp.moveaxis(part, 0, 1)[:, :, None] for part in (starts, per_group))
    ends = np.cumsum([count // group for count in counts]) - 1
    return Grid(starts.astype(dtype), per_group.astype(dtype), group, ends)


def segment_grid(
    times: NDArray[Any], dtype: Any, *, examples: int, substeps: int | None, step: float | None, owner: str
) -> Grid:
    """Return the steps of `step_grid` with the intervals side by side: one row for each interval of each example.

    Rows of fewer steps than others end with steps of length zero.

    Args:
      times: of `known_times`, known.
      dtype: of the result.
      examples: how many there are; the rows of one example stand together.
      substeps: as in `step_grid`.
      step: as in `step_grid`.
      owner: who asks, for messages.
    """
    counts = _counts(times, substeps=substeps, step=step, owner=owner)
    group = math.gcd(*counts)
    groups = np.asarray(counts) // group
    own = np.broadcast_to(times, (examples, times.shape[-1]))
    lengths = np.diff(own, axis=1) / np.asarray(counts)
    index = np.arange(groups.max())[:, None, None]
    used = np.where(index < groups, lengths, 0.0)
    starts = own[:, :-1] + np.minimum(index, groups) * group * lengths
    starts, used = (jnp.asarray(part.reshape(len(part), -1, 1), dtype) for part in (starts, used))
    return Grid(starts, used, group, np.asarray([len(index) - 1]))


def _counts(times: Any, *, substeps: int | None, step: float | None, owner: str) -> list[int]:
    """Return how many steps each interval has."""
    if substeps is not None and step is not None:
        raise ValueError(f"{owner}: give substeps={substeps} or step={step}, not both.")
    intervals = times.shape[-1] - 1
    if step is None:
        return [require_integer(1 if substeps is None else substeps, f"{owner}: substeps")] * intervals
    require_number(step, f"{owner}: step", above=0)
    if isinstance(times, Tracer):
        raise ValueError(
            f"{owner}: step={step} needs times that are known before compilation, but they are an argument of a "
            "compiled function; give substeps=, or close over the times."
        )
    longest = np.diff(times, axis=-1).reshape(-1, intervals).max(axis=0)
    # A thousandth of a step is left for the rounding of the times.
    return [max(1, math.ceil(length / step - 1e-3)) for length in longest]


def _lengths(times: Array, counts: list[int]) -> Array:
    spans = times[..., 1:] - times[..., :-1]
    return jnp.where(spans > 0, spans, jnp.nan) / _last_axis(counts, times)


def _last_axis(numbers: Any, like: Array) -> Array:
    return jnp.asarray(numbers, like.dtype).reshape(*(1,) * (like.ndim - 1), -1)
