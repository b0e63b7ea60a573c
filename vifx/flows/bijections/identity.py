"""The map that does nothing."""

from __future__ import annotations

__all__ = ["identity"]

from typing import Any

import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def identity() -> Bijection:
    """Return the identity ``z = x``, whose log-determinant is 0 nats and which has no parameters."""

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        del key, x, given
        return {}, {}

    def same(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        del params, state, given, key
        return x, jnp.zeros(x.shape[0], x.dtype)

    return checked("identity", init, same, same)
