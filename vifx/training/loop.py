"""The loop: data, metrics, checkpoints and signals around a compiled step."""

from __future__ import annotations

__all__ = ["Evaluate", "Event", "Fitted", "fit"]

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from vifx.checks import require, require_function, require_integer, require_key
from vifx.core.objective import Objective, require_objective
from vifx.core.types import Key, Metrics, Params, State
from vifx.training import hosts
from vifx.training.alarm import Alarm, missing, raised_last, require_alarms
from vifx.training.checksums import checksum
from vifx.training.chunk import advance, first_batch
from vifx.training.chunk_summary import chunk_row, require_finite
from vifx.training.errors import CheckpointError, Diverged
from vifx.training.interrupt import Interrupted, deferred_signals
from vifx.training.layout import Layout, Rule, local
from vifx.training.measuring import Evaluate, measured, require_metrics
from vifx.training.metrics import Row
from vifx.training.minibatch_sources import ResidentSource, Source, require_source
from vifx.training.monotone import Monotone
from vifx.training.record import Record
from vifx.training.state import TrainState, run_key, start
from vifx.training.step import Step, one_update
from vifx.training.stop import Stop
from vifx.training.timetable import Timetable

Kind: TypeAlias = Literal["start", "log", "alarm", "checkpoint", "end"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What `fit` tells an observer, such as a progress bar.

    Attributes:
      kind: "start" (also of a resumed run), "log" (a chunk is done), "alarm" (one goes off at its row), "checkpoint"
        (one is saved), "end".
      step: how many updates have been made.
      steps: how many there will be, unless the run is stopped before.
      metrics: of a "log", an "alarm" and a "checkpoint" their row, else empty.
      seconds: since the start of this call.
      message: of an "alarm", what has happened, and of an "end", why the run was stopped before its last update: one
        line, else empty.
    """

    kind: Kind
    step: int
    steps: int
    metrics: Row = field(default_factory=dict)
    seconds: float
    message: str = ""


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


def fit(
    key: Key,
    step: Step,
    objective: Objective,
    source: Source,
    *,
    steps: int,
    directory: str | Path | None = None,
    log_every: int = 100,
    checkpoint_every: int = 1000,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    best: str | None = None,
    alarms: Sequence[Alarm] = (),
    monotone: str | None = None,
    stop: Stop | None = None,
    initial: tuple[Params, State] | None = None,
    mesh: Mesh | None = None,
    sharding: Rule | None = None,
    observe: Callable[[Event], None] | None = None,
    config_hash: str = "",
    resume_from: int | None = None,
    skips: int = 10,
) -> Fitted:
    """Train for `steps` updates in all, or until a rule stops the run; or resume the run in `directory`.

    The whole run is a function of (key, step, objective, source) and the number of updates: one
    that was stopped and resumed ends with the same parameters, to the bit, and the same log. A
    resident source is trained on in compiled chunks that end at the multiples of `log_every`;
    everything else happens between chunks.

    SIGINT, SIGTERM and SIGHUP let the chunk end and save; a second one goes to the handler of before, which by default
    raises KeyboardInterrupt at once. A checkpoint is written while training goes on, and is whole by the end of the
    next chunk. Nothing is ever saved from a state that is not finite.

    Several processes (`training.hosts.start`) call it with the same arguments and a mesh of all their devices: process
    0 evaluates and writes, a signal to one stops all, and the result is that of one process up to the order of sums.

    Args:
      key: the seed of the run, as for `start`.
      step: makes one update: `fit` does the scanning.
      objective: gives the networks.
      source: `vifx.data.Resident`, `Full`, `Combined`, `Unobserved` or `Streaming`.
      steps: how many updates there are when training ends.
      directory: where ``metrics.jsonl`` and ``checkpoints/`` go; None saves nothing.
      log_every: a row of the log is the mean over this many updates (of the applied ones, if the
        step is guarded; of integers, the largest).
      checkpoint_every: save at the first row at or past each multiple, and at the end.
      evaluate: ``(train_state) -> {name: value}``, added to the row; it must not keep the state.
      evaluate_every: evaluate likewise; as often as checkpoints are due by default.
      best: the name of a metric whose smallest value marks the checkpoint to keep besides the last
        ones; with a minus sign in front, whose largest.
      alarms: rules on the log; when one goes off, `observe` is told, and training goes on.
      monotone: the name of a metric that never falls but by rounding, such as EM's ``"objective"``; if it does, the
        run has diverged.
      stop: a rule on the log, such as ``training.converged("objective", tolerance=1e-5)`` or
        ``training.patience("validation/loss", evaluations=5)``. At the first row at which it holds the run ends as at
        `steps`: it is evaluated and saved. A run that was stopped is complete, and resuming it makes no update.
      initial: parameters and state to begin with, in place of the objective's; they are copied.
      mesh: divide the examples of each minibatch over its devices; see `make_mesh`.
      sharding: ``(path, shape) -> PartitionSpec``, how the arrays of the train state are divided over the mesh; by
        default `fsdp` where the mesh has such an axis, else they are whole on every device.
      observe: called with an `Event` at every row, alarm and checkpoint, at the start and at the end.
      config_hash: what identifies the configuration; resuming with another one is refused.
      resume_from: the step of the checkpoint to go on from, rather than the latest; later ones
        are renamed to ``<step>.set-aside``.
      skips: how many updates in a row a guarded step may skip before the run counts as diverged.

    Raises:
      ValueError: if a number is not positive, or `best`, `monotone` or `stop` is not a metric.
      TypeError: if an argument is of another kind: a dataset as source, a seed as key, something else in `alarms`, ….
      CheckpointError: if the run cannot be resumed or saved.
      HostsError: if the processes of a run do not agree on it.
      Diverged: if a metric or a parameter is not finite, a guarded step skipped too often, or `monotone` fell.
      Interrupted: after one of these signals, when the run is saved.
    """
    _require_arguments(key, step, objective, source)
    _require_options(directory, evaluate, best, monotone, stop, observe, config_hash, resume_from, skips)
    layout = Layout.checked(mesh, sharding, "fit")
    schedule = Timetable.checked(steps, log_every, checkpoint_every, evaluate_every)
    tell, alarms = _teller(observe, steps), require_alarms(alarms)
    with ExitStack() as stack:
        signalled = stack.enter_context(deferred_signals())
        record = stack.enter_context(Record(directory, best=best, config_hash=config_hash))
        train_state = _begin(key, step, objective, source, initial, record, resume_from, layout)
        at, reason = int(train_state.step), "" if stop is None else stop.reason(record.history)
        run_chunk = stack.enter_context(advance(step, source, layout, at))
        stack.enter_context(hosts.accounted())
        tell("start", at)
        named = {"best": best, "stop": None if stop is None else stop.metric}
        rise, number = None if monotone is None else Monotone(monotone, record.history), None
        while at < steps and not reason and number is None:
            begin, at = at, schedule.chunk_end(at)
            train_state, stacked = run_chunk(train_state, begin, at - begin)
            row = _sound_row(train_state, stacked, begin, at, skips, rise, record)
            require_metrics(named, row, evaluate, train_state)
            saving, measuring = schedule.saving_and_measuring(begin, at, best=best is not None)
            row, reason = measured(row, stop, record, evaluate, train_state, measuring=measuring)
            record.finish_saving(tell)
            record.log(row)
            tell("log", at, row)
            for message in _alarming(alarms, record, schedule, begin, at, evaluated=evaluate is not None):
                tell("alarm", at, row, message)
            number = _agreed(signalled())
            if saving or reason or number is not None:
                record.save(train_state, row)
        record.finish_saving(tell)
        if number is not None and at < steps and not reason:
            raise Interrupted(at, record.directory, number)
        tell("end", at, message=reason)
    return Fitted(train_state, record.history, reason)


def _require_arguments(key: Key, step: Step, objective: Objective, source: Source) -> None:
    require_key(key, name="fit: key")
    one_update(step, "fit")
    require_objective(objective, "fit")
    require_source(source, "fit")
    _require_same(key, source)


def _require_options(
    directory: str | Path | None,
    evaluate: Evaluate | None,
    best: str | None,
    monotone: str | None,
    stop: Stop | None,
    observe: Callable[[Event], None] | None,
    config_hash: str,
    resume_from: int | None,
    skips: int,
) -> None:
    if directory is not None:
        require(directory, (str, Path), "directory", "a path", "give that of the run, or None to save nothing")
    for name, metric in (("best", best), ("monotone", monotone)):
        if metric is not None:
            require(metric, str, name, "the name of a metric", "give one of the log, such as 'loss/model'")
    if stop is not None:
        require(stop, Stop, "stop", "a rule", "make one with training.converged(...) or training.patience(...)")
    require(config_hash, str, "config_hash", "a text", "give what identifies the configuration")
    if evaluate is not None:
        require_function(evaluate, "evaluate", "(train_state) -> {name: value}")
    if observe is not None:
        require_function(observe, "observe", "(event) -> None")
    if resume_from is not None:
        require_integer(resume_from, "resume_from", least=0)
        if directory is None:
            raise ValueError("resume_from needs the directory that holds the checkpoint; give directory=")
    require_integer(skips, "skips")


def _teller(observe: Callable[[Event], None] | None, steps: int) -> Callable[..., None]:
    began = time.monotonic()

    def tell(kind: Kind, at: int, row: Row | None = None, message: str = "") -> None:
        if observe is not None:
            seconds = time.monotonic() - began
            observe(Event(kind=kind, step=at, steps=steps, metrics=row or {}, seconds=seconds, message=message))

    return tell


def _begin(
    key: Key,
    step: Step,
    objective: Objective,
    source: Source,
    initial: tuple[Params, State] | None,
    record: Record,
    resume_from: int | None,
    layout: Layout | None,
) -> TrainState:
    batch = first_batch(key, source) if initial is None else {}
    begin = partial(start, step=step, objective=objective, batch=batch, initial=initial)
    train_state = record.begin(jax.eval_shape(begin, key), resume_from, layout)
    if train_state is None:
        fresh = begin(key)
        return fresh if layout is None else layout.place(fresh)
    was, now = (np.asarray(jax.random.key_data(each)) for each in (local(train_state.key), run_key(key)))
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


def _alarming(
    alarms: Sequence[Alarm], record: Record, schedule: Timetable, begin: int, at: int, *, evaluated: bool
) -> Iterator[str]:
    """Yield alarms raised by the last row; at the first with every metric, also those whose metric is never logged."""
    every = schedule.evaluate_every if evaluated else 1
    if begin < every and schedule.due(every, begin, at):
        yield from missing(alarms, record.history)
    for found in raised_last(alarms, record.history):
        yield "; ".join(filter(None, (found.sentence, record.best())))


def _sound_row(
    train_state: TrainState,
    stacked: Metrics,
    begin: int,
    at: int,
    skips: int,
    rise: Monotone | None,
    record: Record,
) -> Row:
    """Return the row of a chunk in which nothing has diverged."""
    metrics = {name: np.asarray(value) for name, value in stacked.items()}
    row = chunk_row(metrics, at)
    try:
        require_finite(train_state, metrics, row, begin, skips)
        if rise is not None:
            rise.check(metrics, begin)
    except Diverged as error:
        raise Diverged(
            error.step, error.sentence, saved=record.where(), start=error.start, train_state=train_state
        ) from None
    return row
