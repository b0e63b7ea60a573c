"""One step of a differential equation as a network, the transition of a recurrence."""

from __future__ import annotations

__all__ = ["ode_step"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_choice, require_integer, require_number
from vifx.core.types import Array, Key, Net, PyTree
from vifx.dynamics.field import as_field, checked_field
from vifx.dynamics.steppers import METHODS


def ode_step(f: Any, *, method: str = "rk4", substeps: int = 1, length: float | None = 1.0) -> Net:
    """Return the network ``(x, t, *given) -> x(t + length)`` of ``dx/dt = f(x, t, *given)``.

    By one method step, such as Euler's ``x + h f(x, t)``, or by `substeps` of them. A recurrence of it is the numerical
    solution of the differential equation, as `solve` computes it.

    Args:
      f: a `Net`, a Flax Linen or NNX module, or a plain function, of ``(x, t, *given)``, that returns an array like
        x. The parameters and the state are its own; the state is read and not written.
      method: ``"euler"``, ``"midpoint"``, ``"heun"`` or ``"rk4"``.
      substeps: how many steps of equal length.
      length: of the whole step, in the unit of the time, positive; None if it is an input, ``(x, t, length, *given)``
        with `length` as ``[examples, 1]``, for irregular times.

    Raises:
      ValueError: a hyperparameter is out of its range, or in a call, t or the length is not ``[examples, 1]`` or f
        returns something that is not like x.
      TypeError: f is neither a network nor a function.
    """
    net, stepper = as_field(f, "ode_step"), METHODS[require_choice(method, METHODS, "ode_step: method")]
    require_integer(substeps, "ode_step: substeps")
    if length is not None:
        require_number(length, "ode_step: length", above=0)

    def split(inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return (length, inputs) if length is not None else (inputs[0], inputs[1:])

    def init(key: Key, x: PyTree, t: Array, *inputs: Any) -> tuple[PyTree, PyTree]:
        return net.init(key, x, t, *split(inputs)[1])

    def apply(
        params: PyTree, state: PyTree, x: PyTree, t: Array, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[PyTree, PyTree]:
        whole, given = split(inputs)
        examples = jax.tree.leaves(x)[0].shape[0]
        for name, value in {"t": t, "length": t if length is not None else whole}.items():
            if jnp.shape(value) != (examples, 1):
                raise ValueError(f"ode_step: {name} must have the shape [{examples}, 1], got {list(jnp.shape(value))}.")
        field = checked_field(
            lambda x, now: net.apply(params, state, x, now, *given, key=key, train=train)[0], x, "ode_step"
        )
        size = whole / substeps

        def one(x: PyTree, index: Any) -> tuple[PyTree, None]:
            return stepper(field, x, t + size * index, size), None

        if substeps == 1:
            return one(x, 0.0)[0], state
        return jax.lax.scan(one, x, jnp.arange(substeps, dtype=t.dtype))[0], state

    return Net(init, apply)
