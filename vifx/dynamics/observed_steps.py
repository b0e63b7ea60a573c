"""Sequences with missing steps as shorter ones with their times."""

from __future__ import annotations

__all__ = ["observed"]

import numpy as np
from numpy.typing import ArrayLike

from vifx.checks import require_array


def observed(
    x: ArrayLike, present: ArrayLike, times: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out the steps that are missing, and keep the times of the others: data for a chain of irregular times.

    ``x, times, lengths = observed(x, present)`` moves the observed steps of every sequence to its front. Then
    ``factor("x | times, lengths", chain(…, parents=("times", "lengths")), …)`` is the law of what was observed, with
    no integral over what was not: a transition over a gap is a transition of the model.

    Args:
      x: ``[examples, steps, *event]``; what it holds at missing steps is not read.
      present: which steps were observed, booleans ``[examples, steps]``.
      times: the times of the steps, ``[steps]`` or ``[examples, steps]``; by default 0, 1, 2, ….

    Returns:
      The values ``[examples, most, *event]`` and the times, single precision ``[examples, most]``, and the lengths,
      integers ``[examples]``, where ``most`` is the largest number of observed steps. What fills the end repeats the
      last value, and goes on one unit of time a step.

    Raises:
      TypeError: `x` or `present` is not an array.
      ValueError: shapes that do not fit each other, values of `present` that are not booleans, times that do not
        increase, or a sequence without any observation.

    >>> x, times, lengths = observed(np.array([[1.0, 2.0, 3.0]]), np.array([[True, False, True]]))
    >>> x.tolist(), times.tolist(), lengths.tolist()
    ([[1.0, 3.0]], [[0.0, 2.0]], [2])
    """
    values = np.asarray(require_array(x, "observed: x"))
    mask = np.asarray(require_array(present, "observed: present"))
    if mask.dtype != np.bool_ or mask.ndim != 2 or values.shape[:2] != mask.shape:
        raise ValueError(
            f"observed: present must be booleans [examples, steps], one for each step of x {list(values.shape)}, got "
            f"{mask.dtype}{list(mask.shape)}; write np.isfinite(x) for one number a step."
        )
    examples, steps = mask.shape
    clock = np.arange(steps, dtype=np.float64) if times is None else np.asarray(times, np.float64)
    if clock.shape not in ((steps,), mask.shape):
        raise ValueError(
            f"observed: times must be [{steps}] or {list(mask.shape)}, one for each step, got {list(clock.shape)}."
        )
    clock = np.broadcast_to(clock, mask.shape)
    if (empty := np.flatnonzero(~mask.any(axis=1))).size:
        raise ValueError(
            f"observed: present has no observation of sequence {empty[0]}, and of {len(empty) - 1} more; leave such "
            "sequences out."
        )
    lengths = mask.sum(axis=1)
    most = int(lengths.max())
    place = np.argsort(~mask, axis=1, kind="stable")[:, :most]  # the observed steps first, in their order
    last = np.take_along_axis(place, lengths[:, None] - 1, axis=1)
    beyond = np.maximum(np.arange(most)[None] - lengths[:, None] + 1, 0)
    place = np.where(beyond > 0, last, place)
    kept = np.take_along_axis(clock, place, axis=1)
    rises = (np.diff(kept, axis=1) > 0) | (beyond[:, 1:] > 0)
    if not rises.all():
        example, step = (int(i) for i in np.argwhere(~rises)[0])
        raise ValueError(
            f"observed: times must increase, got {kept[example, step]:g} and then {kept[example, step + 1]:g} in "
            f"sequence {example}; sort the steps, and merge those of one time."
        )
    moved = np.take_along_axis(values, place.reshape(examples, most, *(1,) * (values.ndim - 2)), axis=1)
    return moved, (kept + beyond).astype(np.float32), lengths.astype(np.int32)
