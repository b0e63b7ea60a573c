"""What arrays of examples must be: the one check of every source, split and fit."""

from __future__ import annotations

__all__ = ["checked_array", "checked_arrays"]

from collections.abc import Mapping

import jax
import numpy as np
from numpy.typing import ArrayLike

from vifx.checks import described, require_unmasked
from vifx.core.examples import WEIGHTS, check_weights


def checked_arrays(arrays: Mapping[str, ArrayLike], argument: str, *, whole: bool = True) -> dict[str, np.ndarray]:
    """Return `arrays` as NumPy arrays of JAX's types (64-bit numbers become 32-bit ones unless x64 is on).

    An example of weight zero, by an entry ``"@weights"``, may hold numbers that are not finite.

    Args:
      arrays: by variable, each ``[examples, ...]``.
      whole: whether these are all examples, of which some must have a weight above zero.

    Raises:
      TypeError: if something is not an array of numbers.
      ValueError: if there is no array or no example, lengths disagree, an array is masked, a number is not finite in
        the type that is used, or weights are negative or all zero.
    """
    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) for name in arrays):
        fix = "give one of its splits, such as dataset.train" if hasattr(arrays, "train") else 'write {"x": x}'
        raise TypeError(f"{argument} must be a mapping from variables to arrays, got {described(arrays)}; {fix}")
    if not arrays:
        raise ValueError(f"{argument} must have at least one array, such as {{'x': images}}")
    absent = np.asarray(arrays[WEIGHTS]) == 0 if WEIGHTS in arrays else None
    checked = {name: checked_array(array, f"{argument}[{name!r}]", absent=absent) for name, array in arrays.items()}
    lengths = {name: len(array) for name, array in checked.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the arrays of {argument} must have one row per example, got lengths {lengths}")
    if 0 in lengths.values():
        raise ValueError(f"{argument} must have at least one example, got none")
    if WEIGHTS in checked:
        name = f"{argument}[{WEIGHTS!r}]"
        check_weights(checked[WEIGHTS], name, examples=len(checked[WEIGHTS]), whole=whole)
    return checked


def checked_array(array: ArrayLike, argument: str, *, absent: np.ndarray | None = None) -> np.ndarray:
    """Return an array of numbers in JAX's type of it, in which every number is finite.

    Args:
      array: ``[examples, ...]``.
      absent: which examples have weight zero, ``[examples]``, and may hold anything.

    Raises:
      TypeError: if it is not an array of real numbers.
      ValueError: if it is masked, a number is not finite in the type that is used, or an integer does not fit it.
    """
    given = np.asarray(require_unmasked(array, argument))
    dtype = given.dtype
    if dtype.kind not in "biuf" and dtype != jax.numpy.bfloat16:
        raise TypeError(
            f"{argument} must be an array of real numbers, got dtype {dtype}; encode categories as integers"
        )
    if given.ndim == 0:
        raise ValueError(f"{argument} must have an axis of examples, got a scalar")
    target = jax.dtypes.canonicalize_dtype(dtype)
    if dtype.kind in "iu" and target != dtype and given.size:
        limits = np.iinfo(target)
        if given.min() < limits.min or given.max() > limits.max:
            worst = given.max() if given.max() > limits.max else given.min()
            raise ValueError(
                f"{argument} must fit into {target}, got the integer {worst}; convert to floating point, or use "
                "jax.enable_x64"
            )
    with np.errstate(over="ignore"):
        found = given.astype(target, copy=False)
    if dtype.kind not in "biu":
        _require_finite(given, found, argument, absent)
    return found


def _require_finite(given: np.ndarray, found: np.ndarray, argument: str, absent: np.ndarray | None) -> None:
    bad = ~np.isfinite(found)
    if absent is not None and absent.shape == bad.shape[:1]:
        bad[absent] = False
    if bad.any():
        first = tuple(map(int, np.argwhere(bad)[0]))
        lost = np.isfinite(given[first])
        raise ValueError(
            f"{argument} must be finite{f' in {found.dtype}' if lost else ''}, got {given[first]} at index {first} and "
            f"{int(bad.sum())} such values in all; "
            + ("rescale it, or use jax.enable_x64" if lost else "remove or replace those examples")
        )
