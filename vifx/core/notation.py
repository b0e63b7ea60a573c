"""The notation of factors, ``"x | z, y"``."""

from __future__ import annotations

__all__ = ["parsed"]


def parsed(notation: str) -> tuple[str, tuple[str, ...]]:
    """Parse the `notation` ``"x | z, y"`` into ``("x", ("z", "y"))``.

    Raises:
      TypeError: it is not a string.
      ValueError: it is malformed; the message names the part.
    """
    if not isinstance(notation, str):
        raise TypeError(f"notation must be a string such as 'x | z', got {type(notation).__name__}.")
    left, bar, right = notation.partition("|")
    variable, given = left.strip(), tuple(name.strip() for name in right.split(",")) if bar else ()
    for name in (variable, *given):
        if not name.isidentifier():
            raise ValueError(
                f"notation {notation!r}: {name!r} is not a variable name; write one variable and its parents, "
                "such as 'x', 'x | z' or 'x | z, y'."
            )
    if len(set(given)) < len(given):
        raise ValueError(f"notation {notation!r}: a parent appears twice.")
    if variable in given:
        raise ValueError(f"notation {notation!r}: {variable!r} is its own parent, which is a cycle.")
    return variable, given
