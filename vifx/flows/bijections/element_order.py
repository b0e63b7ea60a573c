"""The order in which an autoregressive bijection takes the elements of an event."""

from __future__ import annotations

__all__ = ["checked_order", "order_of"]

from collections.abc import Sequence


def checked_order(order: str | Sequence[int] | None, name: str) -> tuple[int, ...] | bool:
    """Return a permutation, or whether the order is the reverse, of events of any size.

    Raises:
      ValueError: it is neither; the message starts with `name`.
    """
    if order is None or order == "reversed":
        return order == "reversed"
    if isinstance(order, str) or sorted(order) != list(range(len(order))):
        raise ValueError(f"{name}: order must be None, 'reversed' or a permutation of 0 … elements − 1, got {order!r}.")
    return tuple(int(element) for element in order)


def order_of(placed: tuple[int, ...] | bool, elements: int, name: str) -> tuple[int, ...]:
    """Return the order of an event's elements, the first one's index first.

    Raises:
      ValueError: the permutation is one of another number of elements.
    """
    if isinstance(placed, bool):
        return tuple(range(elements))[:: -1 if placed else 1]
    if len(placed) != elements:
        raise ValueError(f"{name}: order has {len(placed)} elements and the event {elements}; give one place for each.")
    return placed
