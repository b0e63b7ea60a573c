"""Where a path stops being finite."""

from __future__ import annotations

__all__ = ["BlowUpError", "blow_up", "require_finite"]

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, PyTree
from vifx.dynamics.field import examples_of, require_values


class BlowUpError(ArithmeticError):
    """A path that is not finite.

    Attributes:
      examples: the numbers of the examples whose path is not finite.
      first: for each of these, the number of the first time at which it is not.
    """

    def __init__(self, message: str, examples: tuple[int, ...], first: tuple[int, ...]) -> None:
        super().__init__(message)
        self.examples, self.first = examples, first


def blow_up(path: PyTree) -> Array:
    """Return for each example the number of the first time at which its state is not finite, ``[examples]``.

    It is the number of times for a path that is finite throughout. It may be compiled.

    Args:
      path: ``[examples, times, *event]``, or a tree of such arrays, as `solve` returns it.

    Example:
      >>> import jax.numpy as jnp
      >>> print(blow_up(jnp.asarray([[[1.0], [jnp.inf]], [[1.0], [2.0]]])))
      [1 2]
    """
    examples_of(path, "blow_up", name="path")
    finite = [jnp.all(jnp.isfinite(leaf.reshape(*leaf.shape[:2], -1)), axis=2) for leaf in jax.tree.leaves(path)]
    whole = jnp.all(jnp.stack(finite), axis=0)
    return jnp.sum(jnp.cumprod(whole.astype(jnp.int32), axis=1), axis=1)


def require_finite(path: PyTree, times: Any) -> PyTree:
    """Return a path that is finite at all times.

    Args:
      path: values, not those of a function that is being compiled: ``[examples, times, *event]``.
      times: those of the path, ``[times]`` or ``[examples, times]``.

    Raises:
      BlowUpError: it is not; the message says which example, and between which times.
      ValueError: the path has another number of times.
    """
    examples = examples_of(path, "require_finite", name="path")
    times = np.asarray(require_values(times, "require_finite: times"))
    first = np.asarray(blow_up(path))
    count = jax.tree.leaves(path)[0].shape[1]
    if times.shape not in ((count,), (examples, count)):
        raise ValueError(
            f"require_finite: times must have the shape [{count}] or [{examples}, {count}], as the path, got "
            f"{list(times.shape)}."
        )
    lost = np.flatnonzero(first < count)
    if not len(lost):
        return path
    at = min(lost, key=lambda example: (first[example], example))
    own, end = np.broadcast_to(times, (examples, count))[at], int(first[at])
    where = f"from the first time, {own[0]:g}, on" if end == 0 else f"between t = {own[end - 1]:g} and t = {own[end]:g}"
    others = f"; so are {len(lost) - 1} more of {examples} examples, later or at the same time" if len(lost) > 1 else ""
    raise BlowUpError(
        f"the path of example {at} stops being finite {where}{others}; take shorter steps (substeps=, step=) or an "
        "adaptive solver, or look whether the solution itself is finite there.",
        tuple(int(example) for example in lost),
        tuple(int(first[example]) for example in lost),
    )
