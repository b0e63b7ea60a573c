"""The one wrapper that checks the inputs and outputs of bijections."""

from __future__ import annotations

__all__ = ["A_BIJECTION", "check_output", "checked", "forget"]

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree, Velocity

A_BIJECTION = ("a Bijection", "give flows.realnvp(4) say, or make one with flows.checked(...)")
"""What is required, and what to do: the end of the message about an argument that is not a bijection."""
_BARE = "@state"  # where a state that is not a mapping is kept


def checked(
    name: str,
    init: Callable[[Key, Array, Any], tuple[PyTree, PyTree]],
    forward: Callable[[PyTree, PyTree, Array, Any, Key | None], tuple[Array, Array]],
    inverse: Callable[[PyTree, PyTree, Array, Any, Key | None], tuple[Array, Array]],
    *,
    scalars: bool = False,
    keeps_size: bool = True,
    stand_in: Callable[[Array], Array] | None = None,
    velocity: Velocity | None = None,
) -> Bijection:
    """Make a `Bijection` of three plain functions, with shapes and dtypes checked at each call.

    The checks read shapes alone: compiled, they cost nothing. What `init` was given is kept as arrays without elements,
    ``[0, *event]``, in the state's entry ``"@name"``, so that scans, `jax.vmap` and checkpoints carry it along: a
    bijection takes events of this shape, and is conditioned as it was, or raises. A state that was made by hand and
    lacks the entry is used as it is.

    Args:
      name: the bijection's name in messages.
      init: ``(key, x, given) -> (params, state)``.
      forward: ``(params, state, x, given, key) -> (z, log_det)``, ``log_det = log|det dz/dx|`` in nats.
      inverse: ``(params, state, z, given, key) -> (x, log_det)``, ``log_det = log|det dx/dz|`` in nats.
      scalars: whether it takes scalar events too, ``[examples]``. Without, an event has at least one axis, so that what
        acts along the last axis never acts along the examples.
      keeps_size: whether z has as many elements as x. A map from a surface, such as the simplex, has fewer; its
        log-determinant is then that of the map from the free coordinates of x, which it has to name. What is composed
        of bijections leaves this to its parts.
      stand_in: ``z -> x``, data made of noise, where not every array of the shape of z is data; see `Bijection`.
      velocity: what it moves along, if it is the solution of a differential equation; see `Bijection`.

    Returns:
      A bijection that raises ValueError or TypeError unless its input is a real array ``[examples, *event]``,
      every array of `given` has as many examples, event and `given` have the shapes of `init`, and it returns a value
      of the input's dtype and as many examples with one log-determinant each.

    >>> import jax.numpy as jnp
    >>> def double(params, state, x, given, key):
    ...     return 2 * x, jnp.full(x.shape[0], x.shape[1] * jnp.log(2.0))
    >>> def halve(params, state, z, given, key):
    ...     return z / 2, jnp.full(z.shape[0], -z.shape[1] * jnp.log(2.0))
    >>> doubling = checked("doubling", lambda key, x, given: ({}, {}), double, halve)
    >>> doubling.forward({}, {}, jnp.zeros(3))
    Traceback (most recent call last):
      ...
    ValueError: doubling: forward needs [examples, *event] with at least one event axis, got shape [3]; \
add an axis, such as x[:, None].
    """
    entry = f"@{name}"

    def checked_init(key: Key, x: Array, given: Any = None) -> tuple[PyTree, PyTree]:
        x = _checked_input(f"{name}: init", x, given, scalars)
        params, state = init(key, x, given)
        return params, _remember(entry, x, given, state)

    def checked_forward(
        params: PyTree, state: PyTree, x: Array, given: Any = None, *, key: Key | None = None
    ) -> tuple[Array, Array]:
        x = _checked_input(f"{name}: forward", x, given, scalars)
        known, state = _recall(entry, state)
        if known is not None:
            _check_event(f"{name}: forward", known, x)
            _check_given(name, known, given)
        return check_output(f"{name}: forward", x, *forward(params, state, x, given, key), keeps_size=keeps_size)

    def checked_inverse(
        params: PyTree, state: PyTree, z: Array, given: Any = None, *, key: Key | None = None
    ) -> tuple[Array, Array]:
        z = _checked_input(f"{name}: inverse", z, given, scalars)
        known, state = _recall(entry, state)
        if known is not None:
            if keeps_size:
                _check_elements(f"{name}: inverse", known, z)
            _check_given(name, known, given)
        found = inverse(params, state, z, given, key)
        x, log_det = check_output(f"{name}: inverse", z, *found, keeps_size=keeps_size)
        if known is not None:
            _check_event(f"{name}: inverse", known, x)
        return x, log_det

    along = None if velocity is None else _remembering(name, velocity)
    return Bijection(checked_init, checked_forward, checked_inverse, stand_in, along)


def _remembering(name: str, velocity: Velocity) -> Velocity:
    """Give the functions of a velocity states without what `_remember` adds, and return them with it."""
    entry = f"@{name}"

    def start(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> Array:
        return velocity.start(params, _recall(entry, state)[1], x, given, key)

    def end(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> Array:
        return velocity.end(params, _recall(entry, state)[1], z, given, key)

    def field(
        params: PyTree, state: PyTree, x: Array, t: Array, given: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        known, own = _recall(entry, state)
        if known is not None:
            _check_given(name, known, given)
        moving, own = velocity.field(params, own, x, t, given, key=key, train=train)
        if known is None:
            return moving, own
        return moving, {entry: known, _BARE: own} if _BARE in state else {**own, entry: known}

    return Velocity(start, end, field)


def _checked_input(where: str, value: Any, given: Any, scalars: bool) -> Array:
    dtype = getattr(value, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{where} needs a real array, got {dtype or type(value).__name__}; dequantize integers first, "
            "(x + u) / 256 for 8-bit pixels (vifx.data.dequantize)."
        )
    if value.ndim == 0:
        raise ValueError(f"{where} needs an axis of examples, [examples, *event], got a scalar; give x[None].")
    if value.ndim == 1 and not scalars:
        raise ValueError(
            f"{where} needs [examples, *event] with at least one event axis, got shape {list(value.shape)}; add an "
            "axis, such as x[:, None]."
        )
    for leaf in jax.tree.leaves(given):
        if leaf.shape[:1] != value.shape[:1]:
            raise ValueError(
                f"{where} needs as many examples in given as in the value, got given {list(leaf.shape)} for "
                f"{list(value.shape)}; repeat or index given so that the leading axes agree."
            )
    return jnp.asarray(value)


def forget(state: PyTree) -> PyTree:
    """Return a state without the shapes that `checked` stores, so that a bijection may take events of other shapes."""
    if isinstance(state, Mapping):
        if _BARE in state:
            return forget(state[_BARE])
        return {name: forget(own) for name, own in state.items() if not _is_entry(name)}
    return type(state)(map(forget, state)) if type(state) in (tuple, list) else state


def _is_entry(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("@")


def _remember(entry: str, x: Array, given: Any, state: PyTree) -> PyTree:
    """Add the shapes to a state, unless a bijection inside has stored them already."""
    rows = tuple(jnp.zeros((0, *leaf.shape[1:]), leaf.dtype) for leaf in jax.tree.leaves(given))
    known = {entry: {"event": jnp.zeros((0, *x.shape[1:]), x.dtype), "given": rows}}
    if isinstance(state, Mapping):
        return state if any(map(_is_entry, state)) else {**state, **known}
    paths = jax.tree_util.tree_leaves_with_path(state)
    within = any(_is_entry(getattr(part, "key", None)) for path, _ in paths for part in path)
    return state if within else {**known, _BARE: state}


def _recall(entry: str, state: PyTree) -> tuple[Mapping[str, Any] | None, PyTree]:
    """Return what `_remember` has added, None if nothing, and the state without it."""
    if not isinstance(state, Mapping) or entry not in state:
        return None, state
    if _BARE in state:
        return state[entry], state[_BARE]
    return state[entry], {name: own for name, own in state.items() if name != entry}


def _check_event(where: str, known: Mapping[str, Any], x: Array) -> None:
    event, found = list(known["event"].shape[1:]), list(x.shape[1:])
    if event != found:
        raise ValueError(
            f"{where} was initialized with events {event}, got {found}; reshape the data, or initialize it with events "
            "of this shape."
        )


def _check_elements(where: str, known: Mapping[str, Any], z: Array) -> None:
    event = list(known["event"].shape[1:])
    if math.prod(event) != math.prod(z.shape[1:]):
        raise ValueError(
            f"{where} needs {math.prod(event)} elements an example, as many as the events {event} that it was "
            f"initialized with, got {list(z.shape)}; the base must have as many elements as the data."
        )


def _check_given(name: str, known: Mapping[str, Any], given: Any) -> None:
    expected = [list(leaf.shape[1:]) for leaf in jax.tree.leaves(known["given"])]
    found = [list(leaf.shape[1:]) for leaf in jax.tree.leaves(given)]
    if expected and not found:
        raise ValueError(
            f"{name}: given is missing; it was initialized with given of {expected} per example. Declare the factor "
            "with its parents, such as transformed('z | x', ...), or pass given=."
        )
    if found and not expected:
        raise ValueError(
            f"{name}: got given of {found} per example, but was initialized without; initialize it with given=, or "
            "leave given out."
        )
    if expected != found:
        raise ValueError(
            f"{name}: was initialized with given of {expected} per example, got {found}; the condition keeps its shape."
        )


def check_output(
    where: str, value: Array, output: Array, log_det: Array, *, keeps_size: bool = True
) -> tuple[Array, Array]:
    """Return the output of a bijection, checked against its input.

    Args:
      value: ``[examples, *event]``.
      log_det: ``[examples]``.
      keeps_size: whether the output must have as many elements.

    Raises:
      ValueError: the examples or the number of elements are not kept, or there is not one log-determinant an example.
      TypeError: a dtype is not that of the value.
    """
    if output.shape[:1] != value.shape[:1] or (keeps_size and output.size != value.size):
        raise ValueError(
            f"{where} maps {list(value.shape)} to {list(output.shape)}; a bijection keeps the examples and the number "
            "of elements."
        )
    if log_det.shape != value.shape[:1]:
        raise ValueError(
            f"{where} returned log_det of shape {list(log_det.shape)}, expected {list(value.shape[:1])}, one per "
            "example; sum it over the event axes."
        )
    for what, found in (("a value", output.dtype), ("log_det", log_det.dtype)):
        if found != value.dtype:
            raise TypeError(
                f"{where} got {value.dtype} and returned {what} of {found}; cast parameters and data to one dtype."
            )
    return output, log_det
