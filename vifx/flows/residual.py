"""Residual flows."""

from __future__ import annotations

__all__ = ["residual"]

from collections.abc import Sequence

from vifx.core.types import Bijection
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.residual_block import residual_block
from vifx.flows.bijections.stack import stack


def residual(
    depth: int,
    *,
    hidden: Sequence[int] = (64, 64),
    lipschitz: float = 0.97,
    log_det: str = "exact",
    terms: int = 8,
    survival: float | None = None,
    between: Sequence[Bijection] = (),
    unroll: int | bool = 1,
    remat: bool = False,
) -> Bijection:
    """Compose residual blocks ``x + g(x)`` with contractions g, as one scan.

    ``log_det="roulette"`` is the residual flow of the paper, ``"series"`` the invertible residual network's estimate,
    and ``"exact"`` neither's but right where the event is small; all three have the same parameters, so that a flow
    trained by an estimate is evaluated exactly.

    Args:
      depth: how many blocks, at least 1.
      hidden: widths of each block's network.
      lipschitz: the bound of each block's g, between 0 and 1.
      log_det: ``"exact"``, ``"series"`` or ``"roulette"``, as in `residual_block`.
      terms: of the series, as there.
      survival: of the roulette, as there.
      between: bijections before each block, such as `actnorm`.
      unroll: as in `stack`.
      remat: as in `stack`.

    Raises:
      ValueError: an argument is out of range.

    References: Behrmann et al. (2019), arXiv:1811.00995; Chen et al. (2019), arXiv:1906.02735.
    """
    block = residual_block(tuple(hidden), lipschitz=lipschitz, log_det=log_det, terms=terms, survival=survival)
    return stack(chain(*between, block) if between else block, depth, unroll=unroll, remat=remat)
