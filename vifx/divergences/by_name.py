"""Divergences by name."""

from __future__ import annotations

__all__ = ["named"]

import re

from vifx import divergences
from vifx.checks import nearest
from vifx.divergences.alpha import alpha
from vifx.divergences.divergence import Divergence
from vifx.divergences.jensen_shannon import skew_jensen_shannon

FAMILIES = {"alpha": alpha, "skew_jensen_shannon": skew_jensen_shannon}


def named(name: str) -> Divergence:
    """Return the divergence of a name, such as ``"pearson"``, ``"alpha(0.5)"`` or ``"skew_jensen_shannon(0.1)"``.

    Args:
      name: one of `vifx.divergences.NAMES`, or a family with its number in parentheses.

    Raises:
      ValueError: if there is none of that name, or the family has no such member.

    >>> named("neyman").formula
    'Σ (P − Q)²/P'
    """
    exported = (getattr(divergences, each) for each in divergences.__all__)
    known = {each.name: each for each in exported if isinstance(each, Divergence)}
    if name in known:
        return known[name]
    member = re.fullmatch(r"(\w+)\(\s*([^()\s]+)\s*\)", name)
    if member and member[1] in FAMILIES and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", member[2]):
        return FAMILIES[member[1]](float(member[2]))
    hint = nearest(name.lower(), (*known, *(f"{family}(0.5)" for family in FAMILIES)))
    raise ValueError(
        f"divergence must be one of {', '.join(known)}, alpha(α) or skew_jensen_shannon(w), got {name!r}{hint}"
    )
