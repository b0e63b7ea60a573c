"""Couplings whose halves take turns."""

from __future__ import annotations

__all__ = ["alternating"]

from collections.abc import Callable, Sequence
from typing import Any

import jax

from vifx.checks import require_integer
from vifx.core.types import Array, Bijection
from vifx.flows.bijections.coupling import coupling
from vifx.flows.bijections.default_networks import dense
from vifx.flows.bijections.elementwise import Elementwise
from vifx.flows.bijections.in_pairs import in_pairs
from vifx.flows.bijections.masks import halves


def alternating(
    elementwise: Elementwise,
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: Callable[[Array], Array] = jax.nn.relu,
    body: Any = None,
    between: Sequence[Bijection] = (),
    unroll: int | bool | None = None,
    remat: bool = False,
) -> Bijection:
    """Compose couplings of events ``[dims]``; the first half stays in one, the second half in the next.

    A pair of couplings is the block of a `stack`, so that alternating costs no permutation.

    Args:
      elementwise: the map of each element.
      depth: how many couplings, at least 1; an odd number leaves one of its own after the pairs.
      hidden: the widths of each coupling's conditioner.
      activation: its nonlinearity.
      body: a network ``(half, *given) -> features`` in its place.
      between: bijections after each pair, such as `shuffle`.
      unroll: how many pairs one iteration of the `stack` holds; None for all of up to 4 pairs, and 1 of more.
      remat: whether the gradient computes pairs again, as in `stack`.

    Raises:
      ValueError: `depth` is below 1, or `hidden` or `unroll` is out of range.
    """
    require_integer(depth, "alternating: depth")
    network = dense(hidden, activation=activation) if body is None else body
    one, other = (coupling(network, elementwise, mask=halves(swapped=swapped)) for swapped in (False, True))
    if unroll is None:
        # Few small layers are faster without a loop; many compile faster with one, in a time that does not grow.
        unroll = True if depth // 2 <= 4 else 1
    return in_pairs(one, other, depth, between=between, unroll=unroll, remat=remat)
