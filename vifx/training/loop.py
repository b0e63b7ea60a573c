"""The loop: data, metrics, checkpoints and signals around a compiled step."""

from __future__ import annotations

__all__ = ["fit"]

from collections.abc import Callable, Sequence
from pathlib import Path

from jax.sharding import Mesh

from vifx.core.objective import Objective
from vifx.core.types import Key, Params, State
from vifx.training import hosts
from vifx.training.alarm import Alarm
from vifx.training.chunk import advance
from vifx.training.course import Course, Fitted
from vifx.training.event import Observe
from vifx.training.interrupt import deferred_signals
from vifx.training.layout import Layout, Rule
from vifx.training.measuring import Evaluate
from vifx.training.minibatch_sources import Source
from vifx.training.plan import Plan
from vifx.training.state import TrainState
from vifx.training.step import Step
from vifx.training.stop import Stop


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
    draw: Callable[[TrainState], None] | None = None,
    draw_every: int | None = None,
    observe: Observe = "progress",
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
      draw: ``(train_state) -> None``, called after the row of the log; it must not keep the state.
      draw_every: draw at the first row at or past each multiple; at checkpoints by default.
      observe: called with an `Event` at every row, alarm and checkpoint, at the start and at the end; one function or
        several, such as `csv_log` and `tensorboard_log` make. "progress" keeps one line up to date in a terminal or a
        notebook, and writes nothing elsewhere; None is silent.
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
    plan = Plan(**locals())
    course = Course(plan, Layout.checked(mesh, sharding, "fit"))
    with (
        deferred_signals() as signalled,
        course,
        advance(step, source, course.layout, course.at) as run_chunk,
        hosts.accounted(),
    ):
        course.start()
        while course.goes_on:
            course.after(*run_chunk(course.train_state, course.at, course.length), signalled)
        return course.end()
