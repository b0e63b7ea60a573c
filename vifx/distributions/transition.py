"""What leads from one value of a sequence to the law of the next."""

from __future__ import annotations

__all__ = ["Transition"]

from collections.abc import Callable
from typing import Any, NamedTuple

from vifx.core.types import PyTree


class Transition(NamedTuple):
    """The conditional ``q(x_t | x_1 … x_{t−1}, t, given_t)`` of a chain, as pure functions.

    Without a memory the law depends on the value before alone, and so the laws of all times are evaluated at once. With
    one, ``(m_t, h_t) = advance(m_{t−1}, u_t)`` is a recurrence on what is read, ``u_t = read(x_{t−1}, …)``, and x_t has
    the law of the features h_t: the recurrence alone goes step by step, and the rest is done for all steps at once.

    Attributes:
      init: ``(key, previous, *told) -> (params, state)``.
      law: ``(params, state, features, key, train) -> distribution`` of one member a row.
      read: ``(params, state, previous, *told) -> inputs``; None for ``(previous, *told)`` as they are. Without a memory
        these are the features.
      begin: ``(params, state, inputs) -> memory`` before the first value is read; None without a memory.
      advance: ``(params, state, memory, inputs) -> (memory, features)``; None without a memory.

    In all of them ``previous`` is the value before, ``[rows, *event]``, and ``told`` is what `vifx.dynamics.chain`
    says: the time or the gap, ``[rows, 1]``, and the parents at the step that is entered, ``[rows, ...]`` each.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    law: Callable[..., Any]
    read: Callable[..., PyTree] | None = None
    begin: Callable[..., PyTree] | None = None
    advance: Callable[..., tuple[PyTree, PyTree]] | None = None
