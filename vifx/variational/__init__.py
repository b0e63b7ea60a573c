"""Variational inference: divergences of joints whose densities exist."""

from __future__ import annotations

__all__ = [
    "focal",
    "importance_weighted",
    "kl",
    "reconstruction",
    "renyi",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.variational.focal import focal
    from vifx.variational.importance_weighted import importance_weighted
    from vifx.variational.kl import kl, reconstruction
    from vifx.variational.renyi import renyi

make_lazy(__name__)
