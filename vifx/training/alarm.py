"""Alarms: rules on the log of metrics that say that a run has collapsed, or is about to."""

from __future__ import annotations

__all__ = ["Alarm", "Raised", "episodes", "missing", "raised", "raised_last", "require_alarms"]

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias, get_args

from vifx.checks import described, nearest, require, require_choice, require_integer, require_number
from vifx.training.metrics import Row

Kind: TypeAlias = Literal["above", "below", "fallen", "risen"]


@dataclass(frozen=True)
class Alarm:
    """A rule on one metric of the log; it goes off when the rule holds in `rows` rows in a row.

    With v₁, …, vₜ the values of the metric in the rows that have it, the rule holds at t if

    * ``"above"``: ``vₜ > limit``;
    * ``"below"``: ``vₜ < limit``;
    * ``"fallen"``: ``vₜ < limit · max(v₁, …, vₜ)``, for a metric ≥ 0 of which more is better;
    * ``"risen"``: ``vₜ > limit · min(v₁, …, vₜ)``, for a metric ≥ 0 of which less is better.

    A NaN counts as no value. An alarm goes off once an episode: at the row that makes it `rows`, and again only
    after the rule has failed in between.

    >>> lost = Alarm("validation/modes", "fallen", 0.7, rows=2, meaning="the generator has lost modes")
    >>> counts = [8, 8, 5, 5, 4]
    >>> log = [{"step": 100 * i, "validation/modes": n} for i, n in enumerate(counts, 1)]
    >>> [found.since for found in raised([lost], log[:4])], raised([lost], log)
    ([300], ())

    Attributes:
      metric: its name in the log; what is monitored begins with ``validation/``.
      kind: ``"above"``, ``"below"``, ``"fallen"`` or ``"risen"``.
      limit: in the metric's unit; of ``"fallen"`` and ``"risen"`` a factor, below and above 1.
      rows: how many consecutive rows, of those that have the metric.
      meaning: one sentence: what it means, and what to try.

    Raises:
      TypeError: if `metric` or `meaning` is not text, `limit` not a number or `rows` not an integer.
      ValueError: if `kind` is unknown, `limit` is not possible for it, `rows` is not positive, or a text is empty
        or has several lines.
    """

    metric: str
    kind: Kind
    limit: float
    rows: int = field(kw_only=True)
    meaning: str = field(kw_only=True)

    def __post_init__(self) -> None:
        for name in ("metric", "meaning"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise TypeError(f"{name} must be a text, got {text!r}; give a string")
            if not text.strip() or len(text.splitlines()) != 1:
                raise ValueError(f"{name} must be one line that is not empty, got {text!r}")
        require_choice(self.kind, get_args(Kind), "kind")
        require_integer(self.rows, "rows")
        require_number(self.limit, "limit", hint="give the value that the metric may not cross")
        if self.kind == "fallen":
            require_number(self.limit, "limit of 'fallen'", above=0, below=1, hint="it is a factor")
        if self.kind == "risen":
            require_number(self.limit, "limit of 'risen'", above=1, hint="it is a factor")


class Raised(NamedTuple):
    """An alarm that went off.

    Attributes:
      alarm: which.
      since: the step of the first row of the episode.
      step: the step of the row at which it went off.
      value: the metric at that row.
      reference: the largest value so far of ``"fallen"``, the smallest of ``"risen"``, else None.
    """

    alarm: Alarm
    since: int
    step: int
    value: float
    reference: float | None = None

    @property
    def sentence(self) -> str:
        """What has happened and what it means, on one line without a full stop."""
        alarm = self.alarm
        side = "below" if alarm.kind in ("below", "fallen") else "above"
        limit = f"{alarm.limit:g}"
        if self.reference is not None:
            limit += f" × its {'largest' if alarm.kind == 'fallen' else 'smallest'}, {self.reference:.4g},"
        rows = f"in {alarm.rows} rows" if alarm.rows > 1 else "in 1 row"
        what = f"{alarm.metric} {side} {limit} {rows} since update {self.since:,}, now {self.value:.4g}"
        return f"{what}: {alarm.meaning.strip().rstrip('.')}"


def raised(alarms: Iterable[Alarm], history: Sequence[Row]) -> tuple[Raised, ...]:
    """Return which alarms go off at the last row of the log, in the order of `alarms`.

    It depends on the rows alone, so that a run that was resumed raises what an uninterrupted one does.

    Args:
      alarms: the rules.
      history: every row so far.

    Raises:
      TypeError: if something is not an alarm, or not a row.
    """
    alarms, history = require_alarms(tuple(_iterable(alarms))), _rows(history)
    return tuple(raised_last(alarms, history)) if history else ()


def raised_last(alarms: Iterable[Alarm], history: Sequence[Row]) -> Iterator[Raised]:
    """Yield what `raised` returns, of a log that is not empty and was checked as it grew."""
    for alarm in alarms:
        if alarm.metric in history[-1]:
            episodes = _episodes(alarm, _relevant(alarm, history))
            yield from (episode for episode in episodes if episode.step == history[-1]["step"])


def episodes(alarms: Iterable[Alarm], history: Sequence[Row]) -> tuple[Raised, ...]:
    """Return every time that an alarm goes off in a log, by step: what `raised` says row by row.

    Args:
      alarms: the rules.
      history: every row.

    Raises:
      TypeError: if something is not an alarm, or not a row.
    """
    alarms, history = require_alarms(tuple(_iterable(alarms))), _rows(history)
    found = [episode for alarm in alarms for episode in _episodes(alarm, history)]
    return tuple(sorted(found, key=lambda episode: episode.step))


def missing(alarms: Iterable[Alarm], history: Sequence[Row]) -> tuple[str, ...]:
    """Return a sentence on each alarm that cannot go off, since no row has its metric.

    Args:
      history: rows, of which one at least is of an evaluation.
    """
    names = dict.fromkeys(name for row in history for name in row if name != "step")
    sentences = []
    for metric in dict.fromkeys(alarm.metric for alarm in alarms if alarm.metric not in names):
        sentences.append(f"{metric} is not in the log, so its alarm is off{nearest(metric, names, cutoff=0.8)}")
    return tuple(sentences)


def require_alarms(alarms: Sequence[Alarm]) -> tuple[Alarm, ...]:
    """Return alarms as a tuple.

    Raises:
      TypeError: if something else is among them.
    """
    if not isinstance(alarms, Sequence):
        raise TypeError(f"alarms must be a sequence of Alarm, got {described(alarms)}; put it into a tuple")
    for alarm in alarms:
        if not isinstance(alarm, Alarm):
            raise TypeError(f"alarms must be a sequence of Alarm, got {alarm!r} in it; make it with training.Alarm")
    return tuple(alarms)


def _iterable(alarms: Iterable[Alarm]) -> Iterable[Alarm]:
    return require(alarms, Iterable, "alarms", "a sequence of Alarm", "put it into a tuple")


def _rows(history: Sequence[Row]) -> Sequence[Row]:
    fix = "give Fitted.history, or what training.read_metrics returns"
    for row in require(history, Sequence, "history", "a sequence of rows", fix):
        require(row, Mapping, "history", "a sequence of rows", fix)
    return history


def _relevant(alarm: Alarm, history: Sequence[Row]) -> Sequence[Row]:
    """Return the rows that decide whether an alarm goes off at the last one."""
    if alarm.kind in ("fallen", "risen"):
        return history
    having = (row for row in reversed(history) if not math.isnan(row.get(alarm.metric, math.nan)))
    return [*islice(having, alarm.rows + 1)][::-1]  # the one before tells whether the episode is new


def _episodes(alarm: Alarm, history: Iterable[Row]) -> Iterator[Raised]:
    best = {"fallen": max, "risen": min}.get(alarm.kind)
    reference: float | None = None
    since, count = 0, 0
    for row in history:
        value = float(row.get(alarm.metric, math.nan))
        if math.isnan(value):
            continue
        if best is not None and math.isfinite(value):
            reference = value if reference is None else best(reference, value)
        if not _holds(alarm, value, reference):
            count = 0
            continue
        count += 1
        since = int(row["step"]) if count == 1 else since
        if count == alarm.rows:
            yield Raised(alarm, since, int(row["step"]), value, reference)


def _holds(alarm: Alarm, value: float, reference: float | None) -> bool:
    if alarm.kind in ("above", "below"):
        return value > alarm.limit if alarm.kind == "above" else value < alarm.limit
    if reference is None:  # nothing but infinities so far
        return False
    bound = alarm.limit * reference
    return reference > 0 and value < bound if alarm.kind == "fallen" else reference >= 0 and value > bound
