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
) -> Bijection:
    """Additive couplings of events ``[dims]``, volume preserving, and a last layer ``z = exp(s)·x``.

    ``log|det ∂z/∂x| = Σ s`` in nats, the same for every example.

    Args:
      depth: how many couplings.
      hidden: the widths of each coupling's conditioner.
      activation: its nonlinearity.
      body: a network ``(half, *given) -> features`` in its place.
      unroll: how many pairs one iteration of the `stack` holds; None for all of up to 4 pairs, and 1 of more.

    Raises:
      ValueError: an argument is out of range.

    Reference: Dinh, Krueger & Bengio (2015), arXiv:1410.8516.
    """
    couplings = alternating(additive(), depth, hidden=hidden, activation=activation, body=body, unroll=unroll)
    return chain(couplings, scale())
