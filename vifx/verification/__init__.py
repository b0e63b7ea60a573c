"""Verification: objectives against the enumerated divergences that they claim to be; posteriors by simulation."""

from __future__ import annotations

__all__ = [
    "RankCalibration",
    "Verification",
    "calibrate",
    "tabular",
    "verify",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.verification.calibrate import RankCalibration, calibrate
    from vifx.verification.tabular import tabular
    from vifx.verification.verify import Verification, verify

make_lazy(__name__)
