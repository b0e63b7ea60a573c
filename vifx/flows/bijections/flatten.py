"""Events of any shape as vectors."""

from __future__ import annotations

__all__ = ["flatten"]

import math
from typing import Any

import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def flatten() -> Bijection:
    """Make a vector of an event: ``[examples, *event] → [examples, elements]``, last axis fastest.

    Its log-determinant is 0 nats. The state is an array without elements, ``[0, *event]``, whose shape the
    inverse restores.

    Raises:
      ValueError: from either direction, the event is not of the size that it was initialized with.

    >>> import jax, jax.numpy as jnp
    >>> bijection, x = flatten(), jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> params, state = bijection.init(jax.random.key(0), x)
    >>> print(bijection.forward(params, state, x)[0])
    [[0. 1. 2. 3.]]
    """

    def init(_key: Key, x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {}, {"event": jnp.zeros((0, *x.shape[1:]), x.dtype)}

    def forward(_params: PyTree, state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        event = state["event"].shape[1:]
        return x.reshape(x.shape[0], math.prod(event)), jnp.zeros(x.shape[0], x.dtype)

    def inverse(_params: PyTree, state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        event = state["event"].shape[1:]
        if z.shape[1:] != (math.prod(event),):
            raise ValueError(
                f"flatten: inverse needs vectors [examples, {math.prod(event)}], got {list(z.shape)}; the base must "
                f"have as many elements as the event {list(event)}."
            )
        return z.reshape(z.shape[0], *event), jnp.zeros(z.shape[0], z.dtype)

    return checked("flatten", init, forward, inverse, scalars=True)
