"""Rules that end a run before its last update: functions of the log alone."""

from __future__ import annotations

__all__ = ["Stop", "converged", "last_gain", "patience"]

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from vifx.checks import require, require_function, require_integer, require_number
from vifx.training.metrics import Row, of_starts


@dataclass(frozen=True)
class Stop:
    """A rule that ends a run; `converged` and `patience` make one.

    It depends on the rows of the log alone, so that a run that is resumed stops where an uninterrupted one does.

    Attributes:
      metric: the metric that it looks at.
      rule: ``(rows) -> reason`` of the rows with this metric, the last one first; an empty text goes on.

    Raises:
      TypeError: if `metric` is not a text, or `rule` not a function.
    """

    metric: str
    rule: Callable[[Iterator[Row]], str]

    def __post_init__(self) -> None:
        require(self.metric, str, "metric", "the name of a metric", "give one of the log, such as 'validation/elbo'")
        require_function(self.rule, "rule", "(rows) -> reason")

    def reason(self, history: Sequence[Row], *more: Row) -> str:
        """Say why a run ends at the last row of its log, or nothing if it goes on.

        Args:
          history: the rows so far.
          *more: rows that follow them.
        """
        rows = chain(reversed(more), reversed(history))
        last = next(rows, {})
        if self.metric not in last:
            return ""
        return self.rule(chain((last,), (row for row in rows if self.metric in row)))


def converged(metric: str, *, tolerance: float) -> Stop:
    """Stop when a metric that rises, such as EM's ``"objective"``, gains less than a tolerance an update.

    The gain is that from one row of the log to the next, divided by the updates of the row: with ``log_every=1`` it is
    that of every update. Of `several` starts each must gain less. A row whose metric starts ``"anew/<metric>"``, such
    as the objective after an empty component was filled, is not compared with the one before.

    Args:
      metric: its name in the log.
      tolerance: in the unit of the metric, such as nats; positive.

    Raises:
      TypeError: if `metric` is not a text, or `tolerance` not a number.
      ValueError: if `tolerance` is not positive and finite.

    >>> rule = converged("objective", tolerance=0.01)
    >>> rule.reason([{"step": 1, "objective": -2.0}, {"step": 2, "objective": -1.5}])
    ''
    >>> rule.reason([{"step": 1, "objective": -1.5}, {"step": 2, "objective": -1.496}])
    'objective gained 0.004 an update, less than 0.01'
    """
    require_number(tolerance, "converged: tolerance", above=0)

    def rule(rows: Iterator[Row]) -> str:
        gain = last_gain(rows, metric)
        return f"{metric} gained {gain:.3g} an update, less than {tolerance:g}" if gain < tolerance else ""

    return Stop(metric, rule)


def last_gain(rows: Iterator[Row], metric: str) -> float:
    """Return what a metric gained an update in the last row, of several starts the largest; ∞ if nothing compares.

    Args:
      rows: those that have the metric, the last one first.
    """
    last, before = next(rows), next(rows, None)
    if before is None or any(of_starts(last, f"anew/{metric}")):
        return math.inf
    pairs = zip(of_starts(last, metric), of_starts(before, metric), strict=True)
    return max(value - earlier for value, earlier in pairs) / (last["step"] - before["step"])


def patience(metric: str, *, evaluations: int) -> Stop:
    """Stop when a metric has not improved for so many rows that have it (early stopping).

    A value that is NaN is no improvement. With ``best=metric``, the checkpoint of the best value is kept.

    Args:
      metric: its name in the log, of which smaller is better; with a minus sign in front, of which larger is. What
        `evaluate` returns is in the rows of evaluations alone.
      evaluations: how many rows with the metric, at least 1.

    Raises:
      TypeError: if `metric` is not a text, or `evaluations` not an integer.
      ValueError: if `evaluations` is not positive.

    >>> rule = patience("-validation/elbo", evaluations=2)
    >>> rows = [{"step": 10 * i, "validation/elbo": v} for i, v in enumerate([-3.0, -2.0, -2.5, -2.1], 1)]
    >>> rule.reason(rows[:3]), rule.reason(rows)
    ('', 'validation/elbo has not improved in 2 evaluations since update 20, when it was -2')
    """
    require(metric, str, "patience: metric", "the name of a metric", "with a minus sign in front if larger is better")
    require_integer(evaluations, "patience: evaluations")
    name, sign = metric.removeprefix("-"), -1 if metric.startswith("-") else 1

    def rule(rows: Iterator[Row]) -> str:
        found = [*rows]
        scores = [math.inf if math.isnan(row[name]) else sign * row[name] for row in found]
        best = len(scores) - 1 - scores[::-1].index(min(scores))  # the first of equals
        if best < evaluations:
            return ""
        since = f"since update {found[best]['step']:,}, when it was {found[best][name]:.5g}"
        return f"{name} has not improved in {best} evaluations {since}"

    return Stop(name, rule)
