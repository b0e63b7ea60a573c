"""The n-gram model of symbols that a language model has to beat."""

from __future__ import annotations

__all__ = ["KneserNey", "kneser_ney"]

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Context: TypeAlias = tuple[int, ...]
Table: TypeAlias = Mapping[Context, Mapping[int, int]]
_START = -1
"""What stands in front of a sequence; it never follows anything."""


class KneserNey(NamedTuple):
    """An n-gram model with interpolated Kneser–Ney smoothing; `kneser_ney` fits one.

    ``P_k(c | h) = max(N(hc) − D, 0)/N(h·) + D·|{c' : N(hc') > 0}|/N(h·) · P_{k−1}(c | h′)`` where h′ is the context h
    without its first symbol, and ``P_0`` is uniform. N are counts for the longest contexts; for shorter ones they are
    the numbers of different symbols in front. The first symbols of a sequence have its start in their context.

    Attributes:
      discount: D, what is taken from every count.
      classes: how many symbols there are.
      counts: N of the symbols that follow a context, for contexts of 0, 1, …, n − 1 symbols.
    """

    discount: float
    classes: int
    counts: Sequence[Table]

    @property
    def order(self) -> int:
        """How many symbols an n-gram has: n."""
        return len(self.counts)

    def probs(self, before: Sequence[int]) -> NDArray[np.float64]:
        """Return the probability of every symbol after the first ones of a sequence, ``[classes]``."""
        context = (*(_START,) * (self.order - 1), *before)
        return np.array([self._prob(context, symbol) for symbol in range(self.classes)])

    def nll(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return ``−log P(x)`` of whole sequences, in nats.

        Args:
          x: symbols, integers ``[examples, length]``.

        Returns:
          ``[examples]``.
        """
        rows = _padded(x, self.order - 1)
        return np.array(
            [
                -sum(
                    math.log(self._prob(row[at - self.order + 1 : at], row[at]))
                    for at in range(self.order - 1, len(row))
                )
                for row in rows
            ]
        )

    def _prob(self, context: Context, symbol: int) -> float:
        found = 1 / self.classes
        for size, table in enumerate(self.counts):
            if following := table.get(context[len(context) - size :]):
                total = sum(following.values())
                found *= self.discount * len(following) / total
                found += max(following.get(symbol, 0) - self.discount, 0) / total
        return found


def kneser_ney(
    train: ArrayLike,
    validation: ArrayLike,
    *,
    classes: int,
    orders: Sequence[int] = (4, 5, 6, 7, 8, 9),
    discounts: Sequence[float] = (0.7, 0.8, 0.9),
) -> KneserNey:
    """Fit the n-gram model whose order and discount have the least negative log-likelihood on validation sequences.

    Args:
      train: symbols ``0 … classes − 1``, integers ``[examples, length]``, which are counted.
      validation: others.
      classes: how many symbols there are.
      orders: the n to try.
      discounts: the D to try.

    Raises:
      ValueError: `orders` has a number below 1, a discount is not between 0 and 1, or a value is not a symbol.

    References:
      Kneser & Ney (1995); Chen & Goodman (1999), An empirical study of smoothing techniques for language modeling.

    >>> model = kneser_ney([[0, 1, 0, 1]], [[0, 1]], classes=2, orders=(2,), discounts=(0.5,))
    >>> model.probs([0]).round(3).tolist()
    [0.167, 0.833]
    """
    if not orders or min(orders) < 1:
        raise ValueError(f"kneser_ney: orders must be at least one number, all from 1 on, got {list(orders)}")
    if not discounts or not all(0 < discount < 1 for discount in discounts):
        raise ValueError(f"kneser_ney: discounts must lie between 0 and 1, got {list(discounts)}")
    for name, x in (("train", np.asarray(train)), ("validation", np.asarray(validation))):
        if x.ndim != 2 or x.dtype.kind not in "iu" or not x.size or x.min() < 0 or x.max() >= classes:
            raise ValueError(f"kneser_ney: {name} must be integers 0 … {classes - 1} [examples, length], got {x.dtype}")
    raw, continued = _tables(_padded(train, max(orders) - 1), max(orders))
    models = [
        KneserNey(discount, classes, [*continued[: order - 1], raw[order - 1]])
        for order, discount in itertools.product(orders, discounts)
    ]
    return min(models, key=lambda model: model.nll(validation).sum())


def _tables(rows: Sequence[Context], order: int) -> tuple[list[Table], list[Table]]:
    """Return for contexts of 0 … order − 1 symbols how often a symbol follows, and how many symbols are in front."""
    grams: list[Counter[Context]] = [
        Counter(row[at - size : at + 1] for row in rows for at in range(order - 1, len(row))) for size in range(order)
    ]
    different = [Counter(gram[1:] for gram in longer) for longer in grams[1:]]
    return [_by_context(each) for each in grams], [_by_context(each) for each in different]


def _by_context(grams: Mapping[Context, int]) -> Table:
    found: dict[Context, dict[int, int]] = {}
    for gram, count in grams.items():
        found.setdefault(gram[:-1], {})[gram[-1]] = count
    return found


def _padded(x: ArrayLike, starts: int) -> list[Context]:
    return [(*(_START,) * starts, *row) for row in np.asarray(x).tolist()]
