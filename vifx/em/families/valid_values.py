"""What values a family takes, checked on the host before anything is compiled."""

from __future__ import annotations

__all__ = ["Features", "categories", "check_values", "counts", "finite", "fractions", "if_concrete", "numbers"]

from collections.abc import Callable
from dataclasses import dataclass

import chex
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.core.types import Array, PyTree
from vifx.em.family import Family


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a family, with the rule for its values.

    Attributes:
      of: ``(state, value) -> φ``.
      check: raises a ValueError if concrete values break the rule.
    """

    of: Callable[[PyTree, Array], PyTree]
    check: Callable[[np.ndarray], None]

    def __call__(self, state: PyTree, value: Array) -> PyTree:
        """Return the features."""
        return self.of(state, value)


def if_concrete(check: Callable[[np.ndarray], None], value: Array) -> Array:
    """Return a value, checked unless it is traced."""
    if not isinstance(value, Tracer):
        check(np.asarray(value))
    return value


def check_values(family: Family, value: chex.Array) -> None:
    """Check values of a family's variable, where the family states a rule: finite, in range, whole, one-hot.

    Args:
      family: whose variable.
      value: concrete, ``[examples, *event]``.

    Raises:
      ValueError: a value breaks the rule; the message names it.
    """
    if isinstance(family.features, Features):
        family.features.check(np.asarray(value))


def finite(name: str, value: np.ndarray) -> None:
    """Finite numbers.

    Raises:
      ValueError: a value is not finite.
    """
    if np.issubdtype(value.dtype, np.floating) and not np.all(np.isfinite(value)):
        bad = np.argwhere(~np.isfinite(value))
        raise ValueError(
            f"{name}: values must be finite, got {value[tuple(bad[0])]} at {list(map(int, bad[0]))}, and "
            f"{len(bad) - 1} more; drop or impute them."
        )


def numbers(name: str, value: np.ndarray, *, floor: float) -> None:
    """Vectors of finite numbers; without a floor of variances none may be the same for all examples.

    Args:
      value: ``[examples, d]`` or ``[examples]``.

    Raises:
      ValueError: a value is not finite, or a feature is constant and there is no floor.
    """
    finite(name, value)
    if floor == 0 and len(value) and np.any(same := np.all(value == value[:1], axis=0)):
        where = (
            "a constant"
            if value.ndim == 1
            else f"feature {int(np.argmax(same))}, of {int(np.sum(same))} constant ones,"
        )
        raise ValueError(
            f"{name}: {where} is {value.reshape(len(value), -1)[0, int(np.argmax(same))]:g} in all {len(value)} "
            "examples, so that its variance is zero; leave it out, or give a floor above 0."
        )


def fractions(name: str, value: np.ndarray) -> None:
    """Zeros and ones, or numbers between.

    Args:
      value: ``[examples, *event]``.

    Raises:
      ValueError: a value is not in [0, 1].
    """
    finite(name, value)
    if value.size and (value.min() < 0 or value.max() > 1):
        raise ValueError(
            f"{name}: values must be 0, 1 or between, got {_worst(value, 1)}; divide pixels by their maximum, or "
            "binarize them."
        )


def counts(name: str, value: np.ndarray) -> None:
    """Whole numbers from 0 on that can be added up exactly.

    In float32 a count above 2²⁴ loses units; in float64 integers are counted up to 2³¹ − 1, where int32 would
    overflow.

    Args:
      value: ``[examples, *event]``.

    Raises:
      ValueError: a value is negative or not whole, or the counts of an example have too large a sum.
    """
    finite(name, value)
    if value.dtype == np.bool_:
        return
    if value.size and value.min() < 0:
        raise ValueError(f"{name}: counts must not be negative, got {value.min():g}; an integer overflow makes such.")
    if np.issubdtype(value.dtype, np.floating) and np.any(value != np.floor(value)):
        worst = value[value != np.floor(value)][0]
        raise ValueError(f"{name}: counts must be whole numbers, got {worst:g}; give counts, not shares.")
    kept = value.dtype if np.issubdtype(value.dtype, np.floating) else jnp.result_type(float)
    exact = 2**24 if kept != np.float64 else 2**31 - 1
    most = value.reshape(len(value), -1).sum(axis=1, dtype=np.float64).max() if value.size else 0
    if most > exact:
        raise ValueError(
            f"{name}: the counts of an example add up to {most:.0f}, more than {exact}, beyond which "
            f"{'float32 loses units; use float64 (jax_enable_x64)' if exact == 2**24 else 'integers overflow'}, or "
            "count in larger units."
        )


def categories(name: str, value: np.ndarray, classes: int) -> None:
    """Integers 0, ..., classes − 1, or weights of the classes that sum to one.

    Args:
      value: integers ``[examples]`` or ``[examples, variables]``, or weights with one more axis.

    Raises:
      ValueError: an integer is out of range or looks one-hot, or weights are negative or do not sum to one.
    """
    finite(name, value)
    if not value.size:
        return
    if np.issubdtype(value.dtype, np.floating):
        sums = value.sum(axis=-1)
        if value.min() < 0 or np.abs(sums - 1).max() > 1e-3:
            worst = value.min() if value.min() < 0 else sums.flat[np.argmax(np.abs(sums - 1))]
            what = "weight" if value.min() < 0 else "sum"
            raise ValueError(
                f"{name}: weights of the {classes} classes must be at least 0 and sum to one, got a {what} of "
                f"{worst:g}; give integers, one-hot rows or probabilities."
            )
        return
    if value.min() < 0 or value.max() >= classes:
        worst = _worst(value, classes - 1)
        raise ValueError(f"{name}: values must be integers 0 to {classes - 1}, got {worst}; set classes= accordingly.")
    if value.ndim == 2 and value.shape[1] == classes > 2 and value.max() == 1 and np.all(value.sum(axis=1) == 1):
        raise ValueError(
            f"{name}: integers [examples, {classes}] that are all one-hot are read as {classes} variables; give the "
            "classes by argmax(axis=1), or the rows in floating point."
        )


def _worst(value: np.ndarray, most: float) -> str:
    return f"{value.max():g}" if value.max() > most else f"{value.min():g}"
