"""Names that users give, checked against the names that exist."""

from __future__ import annotations

__all__ = ["known", "network_names"]

import difflib
from collections.abc import Iterable, Mapping

from vifx.checks import require


def known(name: str, names: Iterable[str], what: str) -> str:
    """Return `name` if it is one of `names`.

    Raises:
      TypeError: if it is not text.
      ValueError: if it is not; the message has the nearest name and all of them.
    """
    names = tuple(names)
    require(name, str, what, "a name", f"there are: {', '.join(map(repr, names)) or 'none'}")
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {what} {name!r}; {hint}There are: {', '.join(map(repr, names)) or 'none'}.")
    return name


def network_names(tree: Mapping[str, object]) -> tuple[str, ...]:
    """Return the entries of params or state that are networks: those without an ``@``."""
    return tuple(name for name in tree if "@" not in name)
