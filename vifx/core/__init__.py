"""The core: what declares joints and objectives, and knows no principle of inference."""

from __future__ import annotations

__all__ = [
    "Constant",
    "Factor",
    "Joint",
    "Objective",
    "Part",
    "Player",
    "Sample",
    "Schedule",
    "Term",
    "explain",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.core.explain import explain
    from vifx.core.factor import Factor
    from vifx.core.joint import Joint, Sample
    from vifx.core.objective import Constant, Objective, Part, Player, Schedule, Term

make_lazy(__name__)
