"""What experiments measure and draw: functions of a trained model."""

from __future__ import annotations

__all__ = ["Drawing", "Measure", "both", "unmeasured"]

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from vifx.core.types import Key, Params, State
from vifx.evaluation.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measure: TypeAlias = Callable[[Key, Params, State], Mapping[str, Estimate | float]]
"""A function of (key, params, state) that returns metrics by name."""
Drawing: TypeAlias = Callable[[Key, Params, State], "Figure"]
"""A function of (key, params, state) that returns a figure."""


def unmeasured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
    """Measure nothing: the monitor of a split without examples."""
    del key, params, state
    return {}


def both(first: Measure | None, second: Measure | None) -> Measure:
    """Return one measure of two whose names differ; they get the same key, and None measures nothing."""
    one, other = first or unmeasured, second or unmeasured
    return lambda key, params, state: {**one(key, params, state), **other(key, params, state)}
