"""Verification: objectives against the enumerated divergences that they claim to be."""

from __future__ import annotations

__all__ = [
    "Verification",
    "tabular",
    "verify",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.verification.tabular import tabular
    from vifx.verification.verify import Verification, verify

make_lazy(__name__)
