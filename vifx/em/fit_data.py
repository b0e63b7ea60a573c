"""What data and weights must be, checked on the host."""

from __future__ import annotations

__all__ = ["checked_data", "counted"]

import jax
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_array
from vifx.core.examples import WEIGHTS, check_weights
from vifx.data.arrays import checked_array
from vifx.em.initial import Start
from vifx.em.model import Model


def counted(x: ArrayLike, weights: ArrayLike | None, start: Start) -> tuple[ArrayLike, ArrayLike | None, Start]:
    """Leave out the examples of weight zero, which would still decide where whitening and seeds are.

    Args:
      x: ``[examples, *event]``.
      weights: ``[examples]`` or None.
      start: labels and responsibilities are left out alike.

    Raises:
      TypeError: if `x` or `weights` are not arrays.
    """
    if weights is None:
        return x, weights, start
    data, each = np.asarray(require_array(x, "x")), np.asarray(require_array(weights, "weights"))
    kept = each != 0
    if each.shape != data.shape[:1] or kept.all() or not kept.any():
        return x, weights, start
    if isinstance(start, np.ndarray | jax.Array) and len(start) == len(data):
        start = np.asarray(start)[kept]
    return data[kept], each[kept], start


def checked_data(model: Model, x: ArrayLike, weights: ArrayLike | None) -> dict[str, np.ndarray]:
    """Return data and weights as the entries of a batch, checked on the host.

    Args:
      x: ``[examples, *event]``.
      weights: ``[examples]`` or None.

    Raises:
      TypeError: if `x` is not an array of real numbers.
      ValueError: what is wrong, and where.
    """
    data = np.asarray(require_array(x, "x"))
    if data.ndim == 0 or len(data) == 0:
        raise ValueError(f"x must have examples along its first axis, got shape {list(data.shape)}.")
    data = checked_array(data, "x")
    model.check(data)
    if weights is None:
        return {model.observed: data}
    each = np.asarray(weights)
    check_weights(each, "weights", examples=len(data))
    dtype = data.dtype if np.issubdtype(data.dtype, np.floating) else np.float32
    return {model.observed: data, WEIGHTS: each.astype(dtype)}
