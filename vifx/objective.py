"""An objective: one pure loss per player, and what its value leaves out."""

from __future__ import annotations

__all__ = ["Constant", "Objective", "Player"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vifx.types import Batch, Key, Loss, Params, State


class Player(NamedTuple):
    """One side of a game: what it moves, and what it minimizes.

    Attributes:
      owns: the networks whose parameters this player moves.
      loss: the pure function that it minimizes.
    """

    owns: tuple[str, ...]
    loss: Loss


class Constant(NamedTuple):
    text: str


@dataclass(frozen=True)
class Objective:
    """PROVISIONAL skeleton: `init`, `players` and `dropped` keep this meaning."""

    init: Callable[[Key, Batch], tuple[Params, State]]
    players: Mapping[str, Player]
    dropped: tuple[str, ...] = ()
