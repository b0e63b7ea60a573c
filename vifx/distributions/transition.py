"""What leads from one value of a sequence to the law of the next."""

from __future__ import annotations

__all__ = ["Transition"]

from collections.abc import Callable
from typing import Any, NamedTuple

from vifx.core.types import PyTree


class Transition(NamedTuple):
    """The conditional ``q(x_t | x_1 … x_{t−1}, t, given_t)`` of a chain, as pure functions.

    Without a memory the law depends on the value before alone, and so the laws of all times are evaluated at once. With
    one, ``(m_t, h_t) = advance(m_{t−1}, x_{t−1}, …)`` is a recurrence, and x_t has the law of the features h_t:
    only the recurrence goes step by step.

    Attributes:
      init: ``(key, previous, t, *given) -> (params, state)``.
      law: ``(params, state, features, key, train) -> distribution`` of one member a row. Without a memory, the features
        are the tuple ``(previous, t, *given)``.
      begin: ``(params, state, previous, t, *given) -> memory`` before the first value is read; None without a memory.
      advance: ``(params, state, memory, previous, t, *given) -> (memory, features)``; None without a memory.

    In all of them ``previous`` is ``[rows, *event]``, ``t`` is ``[rows, columns]`` as `vifx.dynamics.chain` says, and
    ``given`` are the parents at the step that is entered, ``[rows, ...]`` each.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    law: Callable[..., Any]
    begin: Callable[..., PyTree] | None = None
    advance: Callable[..., tuple[PyTree, PyTree]] | None = None
