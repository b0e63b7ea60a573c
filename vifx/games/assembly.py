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

    Example:
      >>> import vifx
      >>> from vifx import games, networks
      >>> critic = networks.Critic(networks.MLP((64,)))
      >>> model = games.gan(networks.MLP((64,), outputs=2), critic, prior=vifx.standard_normal(4))
      >>> print(model.inference, "against", model.generative)
      p̃(x) against Normal(z) · δ generator(x | z)
    """

    inference: Joint
    generative: Joint
    objective: Objective
