"""Block neural autoregressive flows."""

from __future__ import annotations

__all__ = ["bnaf"]

from collections.abc import Sequence

from vifx.checks import require_integer
from vifx.core.types import Bijection
from vifx.flows.bijections.block_autoregressive import block_autoregressive
from vifx.flows.bijections.in_pairs import in_pairs


def bnaf(
    depth: int,
    *,
    hidden: Sequence[int] = (8, 8),
    min_slope: float = 1e-3,
    between: Sequence[Bijection] = (),
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Compose block autoregressive layers whose order is reversed from each to the next: a universal, fast density.

    A layer maps each element by a monotone network, where one of `maf` has an affine map: fewer layers do. A sample
    takes a search for a root for each element.

    Args:
      depth: how many layers, at least 1; an odd number leaves one of its own after the pairs.
      hidden: how many hidden units each element has in each hidden layer of a layer's network.
      min_slope: the smallest slope of an element's map, as in `block_autoregressive`.
      between: bijections after each pair, such as `actnorm`.
      unroll: as in `stack`.
      remat: as in `stack`.

    Raises:
      ValueError: `depth` is below 1, or `hidden`, `min_slope` or `unroll` is out of range.

    Reference: De Cao, Titov & Aziz, Block Neural Autoregressive Flow, 2019, arXiv:1904.04676.
    """
    require_integer(depth, "bnaf: depth")
    one, other = (block_autoregressive(hidden=hidden, order=order, min_slope=min_slope) for order in (None, "reversed"))
    return in_pairs(one, other, depth, between=between, unroll=unroll, remat=remat)
