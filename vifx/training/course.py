"""What happens around the chunks of one run: its log, its checkpoints, its evaluations, and what it tells."""

from __future__ import annotations

__all__ = ["Course", "Fitted", "fresh"]

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import NamedTuple

import jax
import numpy as np

from vifx.core.types import Key, Metrics
from vifx.training import hosts
from vifx.training.alarm import missing, raised_last, require_alarms
from vifx.training.checksums import checksum
from vifx.training.chunk import first_batch
from vifx.training.chunk_summary import chunk_row, require_finite
from vifx.training.errors import CheckpointError, Diverged
from vifx.training.event import Teller
from vifx.training.interrupt import Interrupted
from vifx.training.layout import Layout, local
from vifx.training.measuring import drawn, measured, require_metrics
from vifx.training.metrics import Row
from vifx.training.minibatch_sources import ResidentSource, Source
from vifx.training.monotone import Monotone
from vifx.training.plan import Plan
from vifx.training.record import Record
from vifx.training.state import TrainState, run_key, start


class Fitted(NamedTuple):
    """What training gives.

    Attributes:
      train_state: the last one.
      history: the rows of the log: each a chunk's mean metrics and, where due, its evaluation.
      stopped: why the run ended before its last update, by the rule `stop`; empty if it did not.
    """

    train_state: TrainState
    history: list[Row]
    stopped: str = ""

    def __repr__(self) -> str:
        last = {name: float(f"{value:.4g}") for name, value in self.history[-1].items()} if self.history else {}
        stopped = f", stopped: {self.stopped}" if self.stopped else ""
        return f"Fitted({self.train_state!r}, {len(self.history)} rows, the last: {last}{stopped})"


class Course:
    """A run between its chunks, as a context manager that holds its directory.

    Attributes:
      plan: what the run was told.
      layout: where its arrays lie.
      train_state: where it is.
      at: how many updates it has made.
    """

    def __init__(self, plan: Plan, layout: Layout | None) -> None:
        self.plan, self.layout = plan, layout
        self._timetable, self._alarms = plan.timetable(), require_alarms(plan.alarms)
        self._record = Record(plan.directory, best=plan.best, config_hash=plan.config_hash)
        self._tell = Teller(plan.observe, plan.steps)
        self._reason, self._number = "", None

    def __enter__(self) -> Course:
        plan = self.plan
        _require_same(plan.key, plan.source)
        with ExitStack() as stack:
            stack.enter_context(self._tell)
            stack.enter_context(self._record)
            self.train_state = _begin(plan, self._record, self.layout)
            self.at = int(self.train_state.step)
            self._stack = stack.pop_all()
        history = self._record.history
        self._reason = "" if plan.stop is None else plan.stop.reason(history)
        self._rise = None if plan.monotone is None else Monotone(plan.monotone, history)
        self._named = {"best": plan.best, "stop": None if plan.stop is None else plan.stop.metric}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def goes_on(self) -> bool:
        """Whether there is another chunk."""
        return self.at < self.plan.steps and not self._reason and self._number is None

    @property
    def length(self) -> int:
        """How many updates the next chunk has."""
        return self._timetable.chunk_end(self.at) - self.at

    def start(self) -> None:
        """Tell that the run goes on from here."""
        self._tell.start(self.at, self._record.history)

    def after(self, train_state: TrainState, metrics: Metrics, signalled: Callable[[], int | None]) -> None:
        """Log, evaluate, draw and save what is due at the end of a chunk.

        Args:
          train_state: where it ends.
          metrics: of its updates, by name ``[updates]``.
          signalled: says which signal has come, if one has.

        Raises:
          Diverged: if a number is not finite.
          Exception: from an evaluation, a drawing or an observer; or `CheckpointError`.
        """
        plan, record, timetable = self.plan, self._record, self._timetable
        begin, at = self.at, self.at + self.length
        self.train_state, self.at = train_state, at
        row = self._sound_row(metrics, begin, at)
        require_metrics(self._named, row, plan.evaluate, train_state)
        saving, measuring = timetable.saving_and_measuring(begin, at, best=plan.best is not None)
        row, self._reason = measured(row, plan.stop, record, plan.evaluate, train_state, measuring=measuring)
        record.finish_saving(self._tell)
        record.log(row)
        self._tell("log", at, row)
        if plan.draw is not None and timetable.due(timetable.draw_every, begin, at):
            drawn(plan.draw, train_state)
        for message in self._alarming(begin, at):
            self._tell("alarm", at, row, message=message)
        self._number = _agreed(signalled())
        if saving or self._reason or self._number is not None:
            record.save(train_state, row)

    def end(self) -> Fitted:
        """Wait for the last checkpoint, and return the run.

        Raises:
          Interrupted: if a signal has stopped it before its end.
        """
        self._record.finish_saving(self._tell)
        if self._number is not None and self.at < self.plan.steps and not self._reason:
            raise Interrupted(self.at, self._record.directory, self._number)
        self._tell("end", self.at, message=self._reason)
        return Fitted(self.train_state, self._record.history, self._reason)

    def _sound_row(self, stacked: Metrics, begin: int, at: int) -> Row:
        """Return the row of a chunk in which nothing has diverged."""
        metrics = {name: np.asarray(value) for name, value in stacked.items()}
        row = chunk_row(metrics, at)
        try:
            require_finite(self.train_state, metrics, row, begin, self.plan.skips)
            if self._rise is not None:
                self._rise.check(metrics, begin)
        except Diverged as error:
            found = {"saved": self._record.where(), "start": error.start, "train_state": self.train_state}
            raise Diverged(error.step, error.sentence, **found) from None
        return row

    def _alarming(self, begin: int, at: int) -> Iterator[str]:
        """Yield the alarms of the last row; at the first with every metric, also those that are never logged."""
        record = self._record
        every = 1 if self.plan.evaluate is None else self._timetable.evaluate_every
        if begin < every and self._timetable.due(every, begin, at):
            yield from missing(self._alarms, record.history)
        for found in raised_last(self._alarms, record.history):
            yield "; ".join(filter(None, (found.sentence, record.best())))


def fresh(plan: Plan) -> Callable[[Key], TrainState]:
    """Return what makes the train state of a run before its first update of a key."""
    batch = first_batch(plan.key, plan.source) if plan.initial is None else {}
    return partial(start, step=plan.step, objective=plan.objective, batch=batch, initial=plan.initial)


def _begin(plan: Plan, record: Record, layout: Layout | None) -> TrainState:
    begin = fresh(plan)
    train_state = record.begin(jax.eval_shape(begin, plan.key), plan.resume_from, layout)
    if train_state is None:
        begun = begin(plan.key)
        return begun if layout is None else layout.place(begun)
    was, now = (np.asarray(jax.random.key_data(each)) for each in (local(train_state.key), run_key(plan.key)))
    if (was != now).any():
        raise CheckpointError(
            f"{record.directory}: was started with another key; go on with the seed it was started with, "
            "or use a new directory"
        )
    return train_state


def _agreed(number: int | None) -> int | None:
    """Return the first signal that a process has got, in all of them."""
    said = hosts.gathered("" if number is None else str(number), "the end of a chunk")
    return next((int(text) for text in said if text), None)


def _require_same(key: Key, source: Source) -> None:
    """Require that all processes train on the same data with the same key."""
    if jax.process_count() == 1:
        return
    values = {"the key": str(np.asarray(jax.random.key_data(key)).tolist())}
    for name, array in source.arrays.items() if isinstance(source, ResidentSource) else ():
        values[f"the checksum of data {name!r}"] = checksum(jax.tree.leaves(array))
    hosts.require_same(values, "the start of a run", fix="give every process the same data and seed")
