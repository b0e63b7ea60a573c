"""What data and weights must be, checked on the host."""

from __future__ import annotations

__all__ = ["checked_data", "counted"]

from collections.abc import Mapping

import jax
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_array
from vifx.core.examples import WEIGHTS, check_weights
from vifx.data.arrays import checked_array
from vifx.em.initial import Start
from vifx.em.model import Data, Model


def counted(
    model: Model, x: Data, weights: ArrayLike | None, start: Start
) -> tuple[Mapping[str, ArrayLike], ArrayLike | None, Start]:
    """Leave out the examples of weight zero, which would still decide where whitening and seeds are.

    Args:
      x: ``[examples, *event]``, or all known variables by name.
      weights: ``[examples]`` or None.
      start: labels and responsibilities are left out alike.

    Raises:
      TypeError: if `x` or `weights` are not arrays.
    """
    named = model.named(x)
    if weights is None:
        return named, weights, start
    data = {name: np.asarray(require_array(value, name)) for name, value in named.items()}
    each, examples = np.asarray(require_array(weights, "weights")), data[model.observed].shape[:1]
    kept = each != 0
    if each.shape != examples or kept.all() or not kept.any():
        return named, weights, start
    if isinstance(start, np.ndarray | jax.Array) and start.shape[:1] == examples:
        start = np.asarray(start)[kept]
    return {name: value[kept] for name, value in data.items()}, each[kept], start


def checked_data(model: Model, x: Mapping[str, ArrayLike], weights: ArrayLike | None) -> dict[str, np.ndarray]:
    """Return data and weights as the entries of a batch, checked on the host.

    Args:
      x: the known variables by name, ``[examples, *event]``.
      weights: ``[examples]`` or None.

    Raises:
      TypeError: if a value is not an array of real numbers.
      ValueError: what is wrong, and where.
    """
    checked = {}
    for name, value in x.items():
        array = np.asarray(require_array(value, name))
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(f"{name} must have examples along its first axis, got shape {list(array.shape)}.")
        checked[name] = checked_array(array, name)
    data = checked[model.observed]
    model.check(data)
    sizes = {name: len(array) for name, array in checked.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the known variables must have one row per example, got {sizes}.")
    if weights is None:
        return checked
    each = np.asarray(weights)
    check_weights(each, "weights", examples=len(data))
    dtype = data.dtype if np.issubdtype(data.dtype, np.floating) else np.float32
    return {**checked, WEIGHTS: each.astype(dtype)}
