"""Masked autoregressive flows."""

from __future__ import annotations

__all__ = ["maf"]

from collections.abc import Callable, Sequence

import jax

from vifx.checks import require_integer
from vifx.core.types import Array, Bijection
from vifx.flows.bijections.elementwise import Elementwise, affine
from vifx.flows.bijections.in_pairs import in_pairs
from vifx.flows.bijections.masked_autoregressive import autoregressive


def maf(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    elementwise: Elementwise | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
    between: Sequence[Bijection] = (),
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Compose autoregressive layers whose order is reversed from each to the next: a fast density.

    A pair of layers is the block of a `stack`, so that compile time does not grow with depth and reversal costs no
    permutation. The paper's batch normalization between layers has statistics of its own in training; in its place
    ``between=(flows.actnorm(),)`` normalizes by the first batch.

    Args:
      depth: how many layers, at least 1; an odd number leaves one of its own after the pairs.
      hidden: widths of each layer's masked network.
      elementwise: the map of each element; None for `affine`, as in the paper. ``flows.rational_quadratic()`` makes it
        a neural spline flow.
      activation: the networks' nonlinearity.
      between: bijections after each pair.
      unroll: as in `stack`.
      remat: as in `stack`.

    Raises:
      ValueError: `depth` is below 1, or `hidden` or `unroll` is out of range.

    Reference: Papamakarios, Pavlakou & Murray, Masked Autoregressive Flow for Density Estimation, 2017,
    arXiv:1705.07057.
    """
    require_integer(depth, "maf: depth")
    one, other = (
        autoregressive(elementwise or affine(), hidden=hidden, order=order, activation=activation)
        for order in (None, "reversed")
    )
    return in_pairs(one, other, depth, between=between, unroll=unroll, remat=remat)
