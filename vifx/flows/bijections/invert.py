"""The inverse of a bijection as a bijection."""

from __future__ import annotations

__all__ = ["invert"]

from typing import Any

import jax

from vifx.checks import require
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import A_BIJECTION, checked, forget


def invert(bijection: Bijection) -> Bijection:
    """Swap the two directions: ``invert(f).forward`` is ``f.inverse``, log-determinants included.

    It makes a fast sampler of a flow that has a fast density, and the other way round (an inverse autoregressive
    flow is `invert` of a masked autoregressive one).

    Args:
      bijection: it must keep the event's shape, since it is initialized with data as if they were its own input.

    Raises:
      TypeError: `bijection` is not a `Bijection`.
    """
    require(bijection, Bijection, "invert: bijection", *A_BIJECTION)

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        params, state = bijection.init(key, x, given)
        # A bijection that changes the shape was initialized with its own outputs, and must not remember them as inputs.
        z, _ = jax.eval_shape(lambda key: bijection.inverse(params, forget(state), x, given, key=key), key)
        return params, state if z.shape == x.shape else forget(state)

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return bijection.inverse(params, state, x, given, key=key)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return bijection.forward(params, state, z, given, key=key)

    return checked("invert", init, forward, inverse, scalars=True, keeps_size=False)
