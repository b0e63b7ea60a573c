"""A conditional distribution in one line: input layers, a body and a head."""

from __future__ import annotations

__all__ = ["Conditional"]

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from vifx.core.nets import in_mode
from vifx.core.types import Array
from vifx.networks.inputs import enter


class Conditional(nn.Module):
    """``head(body(parents))``: a network whose output is a distribution.

    Attributes:
      body: a module from the parents to features, called with ``train=``, or what it calls the mode.
      head: a module from features to a distribution, such as `DiagonalNormal`.
      inputs: one input layer per parent, in order, None for a parent that is used as it is; empty when none
        needs one. `Pixels` is for 8-bit images, `OneHot` for labels.

    >>> from vifx.networks import MLP, BernoulliHead, OneHot
    >>> decoder = Conditional(MLP((400, 400)), BernoulliHead((28, 28, 1)), inputs=(None, OneHot(10)))
    """

    body: nn.Module
    head: nn.Module
    inputs: Sequence[nn.Module | None] = ()

    def __call__(self, *parents: Array, train: bool = False) -> Any:
        """Return the conditional distribution given parents ``[examples, ...]``.

        Raises:
          ValueError: if there are input layers, but not one per parent.
        """
        features = self.body(*enter(self.inputs, parents), **in_mode(self.body, train=train))
        return self.head(features, **in_mode(self.head, train=train))
