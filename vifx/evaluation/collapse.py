"""How a run has gone by its log alone: its best, last and worst monitored rows, and the step of collapse."""

from __future__ import annotations

__all__ = ["Stages", "stage_table", "stages"]

import math
from collections.abc import Sequence
from typing import NamedTuple

from vifx.evaluation.estimate import minus
from vifx.training import Alarm, Raised, episodes
from vifx.training.metrics import Row

_MONITORED = "validation/"


class Stages(NamedTuple):
    """Three rows of a log, and what happened between them.

    Attributes:
      metric: that they are chosen by.
      best: the row in which it is best, whose checkpoint is kept.
      last: the last row that has it.
      worst: the row in which it is worst, of the best one and those after it: how far the run has fallen. What is
        before is not a fall but the beginning.
      collapse: the first alarm on a monitored metric that went off, of which `since` is the step of collapse; None
        if none did.
    """

    metric: str
    best: Row
    last: Row
    worst: Row
    collapse: Raised | None

    @property
    def sentence(self) -> str:
        """What has happened, on one line."""
        if self.collapse is None:
            return f"No alarm on a monitored metric went off, so there is no step of collapse; chosen by {self.metric}."
        return f"Collapse since update {self.collapse.since:,}: {self.collapse.sentence}."


def stages(history: Sequence[Row], *, best: str, alarms: Sequence[Alarm] = ()) -> Stages | None:
    """Return the best, last and worst rows of a log, or None where no row has the metric.

    It is a function of the log, so that it may be asked of a run at any time, and a run that was resumed answers like
    one that was not.

    Args:
      history: every row, such as `training.read_metrics` returns.
      best: the monitored metric whose smallest value is the best ("-name": largest), as in `Experiment.best`.
      alarms: rules on the log; those on metrics that begin with ``validation/`` count as a collapse.

    Raises:
      TypeError: as `training.episodes`.
    """
    metric, sign = best.removeprefix("-"), -1 if best.startswith("-") else 1
    rows = [row for row in history if not math.isnan(row.get(metric, math.nan))]
    if not rows:
        return None
    value = [sign * row[metric] for row in rows]
    at = max(index for index, each in enumerate(value) if each == min(value))  # of equal ones the last, as it is kept
    worst = max(rows[at:], key=lambda row: sign * row[metric])
    raised = [each for each in episodes(alarms, history) if each.alarm.metric.startswith(_MONITORED)]
    return Stages(metric, rows[at], rows[-1], worst, min(raised, key=lambda each: each.since, default=None))


def stage_table(found: Stages) -> list[list[str]]:
    """Return a table of the three rows: a head with their updates, and a line for each monitored metric.

    >>> log = [{"step": 100, "validation/fmd": 3.0}, {"step": 200, "validation/fmd": 9.0}]
    >>> stage_table(stages(log, best="validation/fmd"))
    [['metric', 'best, update 100', 'last, update 200', 'worst since, update 200'], ['fmd', '3', '9', '9']]
    """
    rows = (found.best, found.last, found.worst)
    names = ("best", "last", "worst since")
    head = ["metric", *(f"{name}, update {row['step']:,}" for name, row in zip(names, rows, strict=True))]
    metrics = [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith(_MONITORED)]
    ordered = [found.metric, *(name for name in metrics if name != found.metric)]
    return [
        head,
        *(
            [name.removeprefix(_MONITORED), *(minus(f"{row[name]:.5g}") if name in row else "–" for row in rows)]
            for name in ordered
        ),
    ]
