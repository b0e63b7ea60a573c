"""What a method returns."""

from __future__ import annotations

__all__ = ["Assembly"]

from typing import NamedTuple

from vifx.core.joint import Joint
from vifx.core.objective import Objective


class Assembly(NamedTuple):
    """Two joints and the objective between them.

    Attributes:
      inference: the joint that starts from the data.
      generative: the joint that starts from the prior, to sample from.
      objective: a loss for each player.
    """

    inference: Joint
    generative: Joint
    objective: Objective
