"""Bijections, one a file; `vifx.flows` has their names."""

from __future__ import annotations

__all__ = []
