"""What may stand for the right side of a differential equation: a function of (x, t, *given), or a network of them."""

from __future__ import annotations

__all__ = ["as_field", "checked_field", "examples_of", "require_values"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import described, require_function
from vifx.core.nets import as_net, from_functions, is_network
from vifx.core.types import Net, PyTree


def as_field(f: Any, owner: str) -> Net:
    """Return a network of ``(x, t, *given)``; a plain function becomes one without parameters.

    Raises:
      TypeError: it is neither.
    """
    if is_network(f):
        return as_net(f)
    require_function(f, f"{owner}: f", "(x, t, *given) -> dx/dt, or a network of them")
    return from_functions(lambda *_: {}, lambda _, *inputs: f(*inputs))


def checked_field(f: Callable[..., PyTree], x0: PyTree, owner: str) -> Callable[..., PyTree]:
    """Return ``f(x, t, *given)`` with t as ``[examples, 1]``, whose value is checked to be like x.

    Raises:
      ValueError: in a call, the derivative has another structure, shape or dtype than the state.
    """
    examples = examples_of(x0, owner)
    expected = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), x0)

    def field(x: PyTree, now: Any, *given: Any) -> PyTree:
        slope = f(x, jnp.broadcast_to(now, (examples, 1)), *given)
        if jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), slope) != expected:
            found = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", (x0, slope))
            raise ValueError(
                f"{owner}: f maps a state {found[0]} to {found[1]}; the derivative must be like the state, in shape "
                "and dtype."
            )
        return slope

    return field


def examples_of(x0: PyTree, owner: str, *, name: str = "x0") -> int:
    """Return the number of examples of a state, an array ``[examples, *event]`` or a tree of such arrays.

    Raises:
      ValueError: there is no array, one has no axis of examples, or they differ in it.
      TypeError: an array is not real.
    """
    leaves = jax.tree.leaves(x0)
    for leaf in leaves:
        require_values(leaf, f"{owner}: {name}")
    shapes = [jnp.shape(leaf) for leaf in leaves]
    if not leaves or len({shape[:1] for shape in shapes}) > 1 or not shapes[0]:
        raise ValueError(
            f"{owner}: {name} must be an array [examples, *event], or a tree of such arrays, got the shapes "
            f"{[list(shape) for shape in shapes]}; a single state is x[None]."
        )
    for leaf in leaves:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(f"{owner}: {name} must be real, got {jnp.result_type(leaf)}; give it as floating numbers.")
    return shapes[0][0]


def require_values(value: Any, name: str) -> Any:
    """Return an array, or numbers that can be made one.

    Raises:
      TypeError: it is something else.
    """
    if not hasattr(value, "dtype") and np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got {described(value)}.")
    return value
