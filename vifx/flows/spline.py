"""Spline flows on vectors: rational-quadratic couplings."""

from __future__ import annotations

__all__ = ["spline"]

from collections.abc import Callable, Sequence
from typing import Any

import jax

from vifx.core.types import Array, Bijection
from vifx.flows.bijections.alternating import alternating
from vifx.flows.bijections.permutation import shuffle
from vifx.flows.bijections.rational_quadratic import rational_quadratic


def spline(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    bins: int = 8,
    bound: float = 3.0,
    activation: Callable[[Array], Array] = jax.nn.relu,
    body: Any = None,
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Rational-quadratic couplings of events ``[dims]`` with alternating halves, shuffled after each pair.

    Args:
      depth: how many couplings.
      hidden: as in `alternating`, and so are `activation`, `body`, `unroll` and `remat`.
      bins: how many intervals a spline has.
      bound: the splines act on ``[-bound, bound]``, so that data should be of about unit scale.

    Raises:
      ValueError: an argument is out of range.

    Reference: Durkan, Bekasov, Murray & Papamakarios (2019), arXiv:1906.04032.
    """
    elementwise = rational_quadratic(bins=bins, bound=bound)
    return alternating(
        elementwise,
        depth,
        hidden=hidden,
        activation=activation,
        body=body,
        between=(shuffle(),),
        unroll=unroll,
        remat=remat,
    )
