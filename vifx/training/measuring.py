"""The evaluations of a run, and its drawings: what they add to its log, and what may be chosen by them."""

from __future__ import annotations

__all__ = ["Evaluate", "drawn", "measured", "require_metrics"]

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax

from vifx.checks import require_name
from vifx.training import hosts
from vifx.training.layout import local
from vifx.training.metrics import Row
from vifx.training.record import Record
from vifx.training.state import TrainState
from vifx.training.stop import Stop

Evaluate: TypeAlias = Callable[[TrainState], Mapping[str, float]]
"""``(train_state) -> {name: value}``."""


def require_metrics(named: dict[str, str | None], row: Row, evaluate: Evaluate | None, train_state: TrainState) -> None:
    """Check, before anything is logged, that the metrics to choose or to stop by exist; then there are none to check.

    Args:
      named: a metric by the argument that names it.

    Raises:
      ValueError: if there is no such metric.
    """
    while named:
        argument, metric = named.popitem()
        names = [name for name in row if name != "step"]
        if metric is not None and (name := metric.removeprefix("-")) not in names:
            require_name(name, [*names, *_evaluation(evaluate, train_state)], f"metric for {argument}")


def measured(
    row: Row, stop: Stop | None, record: Record, evaluate: Evaluate | None, train_state: TrainState, *, measuring: bool
) -> tuple[Row, str]:
    """Return a row with its evaluation, which is due or else made if the run ends with the row, and why it ends."""
    if measuring:
        row = _evaluated(row, evaluate, train_state)
    reason = "" if stop is None else stop.reason(record.history, row)
    return _evaluated(row, evaluate, train_state) if reason and not measuring else row, reason


def _evaluated(row: Row, evaluate: Evaluate | None, train_state: TrainState) -> Row:
    measured = _evaluation(evaluate, train_state)
    if clash := [name for name in measured if name in row]:
        raise ValueError(
            f"evaluate returns {clash[0]!r}, which training reports already; rename it, to 'validation/{clash[0]}' say"
        )
    return {**row, **{name: float(value) for name, value in measured.items()}}


def _evaluation(evaluate: Evaluate | None, train_state: TrainState) -> Mapping[str, float]:
    """Evaluate in process 0, on one of its devices if there are other processes."""
    if evaluate is None:
        return {}
    if jax.process_count() == 1:
        return evaluate(train_state)
    seen = local(train_state)
    return hosts.broadcast(lambda: {name: float(value) for name, value in evaluate(seen).items()}, "an evaluation")


def drawn(draw: Callable[[TrainState], None], train_state: TrainState) -> None:
    """Draw in process 0."""
    seen = train_state if jax.process_count() == 1 else local(train_state)
    if jax.process_index() == 0:
        draw(seen)
