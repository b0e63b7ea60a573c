"""Divergences by name."""

from __future__ import annotations

__all__ = ["NAMES", "named"]

import difflib
import re

from vifx.divergences.alpha import alpha
from vifx.divergences.chi_squared import neyman, pearson
from vifx.divergences.divergence import Divergence
from vifx.divergences.jensen_shannon import gan, jensen_shannon, skew_jensen_shannon
from vifx.divergences.kullback_leibler import jeffreys, kl, reverse_kl
from vifx.divergences.squared_hellinger import squared_hellinger
from vifx.divergences.total_variation import total_variation

NAMED = (
    *(total_variation, kl, reverse_kl, pearson, neyman, squared_hellinger),
    *(jeffreys, jensen_shannon, gan),
)
FAMILIES = {"alpha": alpha, "skew_jensen_shannon": skew_jensen_shannon}

NAMES: tuple[str, ...] = tuple(divergence.name for divergence in NAMED)
"""The named divergences, in the order of the table; there are also ``alpha(α)`` and ``skew_jensen_shannon(w)``."""


def named(name: str) -> Divergence:
    """Return the divergence of a name, such as ``"pearson"``, ``"alpha(0.5)"`` or ``"skew_jensen_shannon(0.1)"``.

    Args:
      name: one of `NAMES`, or a family with its number in parentheses.

    Raises:
      ValueError: if there is none of that name, or the family has no such member.

    >>> named("neyman").formula
    'Σ (P − Q)²/P'
    """
    known = {divergence.name: divergence for divergence in NAMED}
    if name in known:
        return known[name]
    member = re.fullmatch(r"(\w+)\(\s*([^()\s]+)\s*\)", name)
    if member and member[1] in FAMILIES and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", member[2]):
        return FAMILIES[member[1]](float(member[2]))
    near = difflib.get_close_matches(name.split("(")[0].lower(), [*NAMES, *FAMILIES], 1)
    family = near and near[0] in FAMILIES
    hint = f"; did you mean {near[0]}{'(0.5)' if family else ''}?" if near else ""
    raise ValueError(
        f"divergence must be one of {', '.join(NAMES)}, alpha(α) or skew_jensen_shannon(w), but is {name!r}{hint}"
    )
