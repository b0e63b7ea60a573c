"""NICE: additive couplings and one scale."""

from __future__ import annotations

__all__ = ["nice"]

from collections.abc import Callable, Sequence
from typing import Any

import jax

from vifx.core.types import Array, Bijection
from vifx.flows.bijections.alternating import alternating
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.elementwise import additive
from vifx.flows.bijections.scale import scale


def nice(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: Callable[[Array], Array] = jax.nn.relu,
    body: Any = None,
    unroll: int | bool | None = None,
    remat: bool = False,
) -> Bijection:
    """Additive couplings of events ``[dims]``, volume preserving, and a last layer ``z = exp(s)·x``.

    ``log|det ∂z/∂x| = Σ s`` in nats, the same for every example.

    Args:
      depth: how many couplings.
      hidden: as in `alternating`, and so are `activation`, `body`, `unroll` and `remat`.

    Raises:
      ValueError: an argument is out of range.

    Reference: Dinh, Krueger & Bengio (2015), arXiv:1410.8516.
    """
    couplings = alternating(
        additive(), depth, hidden=hidden, activation=activation, body=body, unroll=unroll, remat=remat
    )
    return chain(couplings, scale())
