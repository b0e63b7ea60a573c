"""Two layers that take turns."""

from __future__ import annotations

__all__ = ["in_pairs"]

from collections.abc import Sequence

from vifx.core.types import Bijection
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.stack import stack


def in_pairs(
    one: Bijection, other: Bijection, depth: int, *, between: Sequence[Bijection], unroll: int | bool, remat: bool
) -> Bijection:
    """Compose `depth` layers that are `one` and `other` in turn.

    A pair is the block of a `stack`, so that compile time does not grow with depth and the turns cost no permutation.

    Args:
      depth: how many layers, at least 1; an odd number leaves one of its own after the pairs.
      between: bijections after each pair.
      unroll: as in `stack`.
      remat: as in `stack`.
    """
    if depth == 1:
        return one
    pairs = stack(chain(one, other, *between), depth // 2, unroll=unroll, remat=remat)
    return chain(pairs, one) if depth % 2 else pairs
