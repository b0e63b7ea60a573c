"""The entries of a tree that are networks."""

from __future__ import annotations

__all__ = ["network_names"]

from collections.abc import Mapping


def network_names(tree: Mapping[str, object]) -> tuple[str, ...]:
    """Return the entries of params or state that are networks: those without an ``@``."""
    return tuple(name for name in tree if "@" not in name)
