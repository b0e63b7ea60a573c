"""Dynamics: sequences by what leads from one step to the next; recurrent cells and differential equations."""

from __future__ import annotations

__all__ = ["Transition", "chain", "observed"]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.distributions.transition import Transition
    from vifx.dynamics.chain_network import chain
    from vifx.dynamics.observed_steps import observed

make_lazy(__name__)
