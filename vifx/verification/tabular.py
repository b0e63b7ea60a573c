"""Networks whose output is a free table: any conditional of finite variables."""

from __future__ import annotations

__all__ = ["tabular"]

import jax
import jax.numpy as jnp

from vifx.core.nets import from_functions
from vifx.core.types import Array, Key, Net
from vifx.distributions import Categorical


def tabular(*given: int, states: int) -> Net:
    """A network for finite spaces: free logits for every combination of finite parents.

    Args:
      *given: the number of states of each parent; parents are integers from 0.
      states: the number of states of the variable.

    Returns:
      A `Net` whose parameters are logits ``[*given, states]``, standard normal at first, and whose
      output is a categorical distribution. Any conditional of finite variables is one of these.
    """

    def init(key: Key, *parents: Array) -> Array:
        del parents
        return jax.random.normal(key, (*given, states), jnp.result_type(float))

    def apply(params: Array, *parents: Array) -> Categorical:
        return Categorical(logits=params[parents] if parents else params)

    return from_functions(init, apply)
