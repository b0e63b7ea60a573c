"""The map that does nothing."""

from __future__ import annotations

__all__ = ["identity"]

from typing import Any

import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def identity() -> Bijection:
    """Return the identity ``z = x``, whose log-determinant is 0 nats and which has no parameters."""

    def init(_key: Key, _x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {}, {}

    def same(_params: PyTree, _state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        return x, jnp.zeros(x.shape[0], x.dtype)

    return checked("identity", init, same, same, scalars=True)
