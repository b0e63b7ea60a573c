"""Dynamics: sequences by what leads from one step to the next; recurrent cells and differential equations."""

from __future__ import annotations

__all__ = []

from vifx.lazy import make_lazy

make_lazy(__name__)
