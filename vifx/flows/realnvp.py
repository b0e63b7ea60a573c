"""RealNVP on vectors: affine couplings."""

from __future__ import annotations

__all__ = ["realnvp"]

from collections.abc import Callable, Sequence
from typing import Any

import jax

from vifx.core.types import Array, Bijection
from vifx.flows.bijections.alternating import alternating
from vifx.flows.bijections.elementwise import affine


def realnvp(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: Callable[[Array], Array] = jax.nn.relu,
    bound: float | None = 3.0,
    body: Any = None,
    unroll: int | bool | None = None,
    remat: bool = False,
) -> Bijection:
    """Affine couplings of events ``[dims]`` with alternating halves: ``z₂ = exp(s(x₁))·x₂ + t(x₁)``.

    Args:
      depth: how many couplings.
      hidden: as in `alternating`, and so are `activation`, `body`, `unroll` and `remat`.
      bound: the largest ``|s|``, as in `affine`; None for no bound.

    Raises:
      ValueError: an argument is out of range.

    Reference: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import flows
    >>> from vifx.distributions import standard_normal
    >>> flow = flows.Flow(standard_normal(2), flows.realnvp(4))
    >>> params, state = flow.init(jax.random.key(0), jnp.zeros((3, 2)))
    >>> [round(float(each), 4) for each in flow.log_prob(params, state, jnp.zeros((3, 2)))]
    [-1.8379, -1.8379, -1.8379]
    """
    return alternating(
        affine(bound=bound), depth, hidden=hidden, activation=activation, body=body, unroll=unroll, remat=remat
    )
