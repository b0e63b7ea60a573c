"""Games: divergences of joints from samples alone, by a critic or a kernel, and the published models made of them."""

from __future__ import annotations

__all__ = [
    "Assembly",
    "Penalty",
    "aae",
    "adversarial",
    "ali",
    "gan",
    "mmd",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.games.aae import aae
    from vifx.games.adversarial import adversarial
    from vifx.games.ali import ali
    from vifx.games.assembly import Assembly
    from vifx.games.gan import gan
    from vifx.games.losses import Penalty
    from vifx.games.mmd import mmd

make_lazy(__name__)
