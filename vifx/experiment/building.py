"""From an experiment file and a config to an experiment that is ready to run, and back to one that has run."""

from __future__ import annotations

__all__ = ["build", "fit_run", "fit_runs", "run_key", "saved_state"]

from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from vifx import training
from vifx.core.types import Key
from vifx.evaluation import Estimate
from vifx.experiment.config import Config
from vifx.experiment.drawn import draw_run
from vifx.experiment.file import Experiment, ExperimentFile
from vifx.experiment.kept_data import keep_standardization, require_same_standardization
from vifx.experiment.mesh import mesh_of
from vifx.experiment.rules import flat, to_json
from vifx.experiment.run import Run
from vifx.experiment.settings import configured, require_read
from vifx.training import Fitted, TrainState
from vifx.training.chunk import first_batch
from vifx.training.event import Observe, Observer, observers
from vifx.training.minibatch_sources import StreamingSource
from vifx.training.plan import Plan
from vifx.training.together import require_alike
from vifx.training.update import divided

Which: TypeAlias = int | Literal["best", "last"]
"""A checkpoint: of this update, of the best one if the run keeps one, or the last."""
_MONITOR = 0x6D6F6E  # separates the noise of the monitor from that of the updates


def run_key(config: Config) -> Key:
    """Return the key of the whole run."""
    return jax.random.key(config.seed)


def build(file: ExperimentFile, config: Config, *, read: Set[str] | None = None) -> Experiment:
    """Build an experiment and run its data, networks and step once on shapes: nothing is trained or written.

    Args:
      file: the experiment file.
      config: an instance of its `Config`.
      read: what a `recording` config notes, for settings that the experiment does not read to be refused.

    Raises:
      TypeError: if `build` returns something else.
      ValueError: from whatever is wrong with the data, the joints or the step.
    """
    built = file.build(config)
    if not isinstance(built, Experiment):
        raise TypeError(f"{file.path}: build must return an Experiment; got {type(built).__name__}")
    if not isinstance(built.source, StreamingSource):
        config.data.require_resident("this experiment has a source of its own; it is data.source that streams")
    mesh = mesh_of(config)
    if read is not None:
        require_read(config, read)
    built = configured(built, config)
    _logs(config, Path())  # whose packages are there
    batch = first_batch(run_key(config), built.source)
    if mesh is not None:
        jax.eval_shape(partial(divided, source=built.source, mesh=mesh), batch)
    state = jax.eval_shape(
        partial(training.start, step=built.step, objective=built.objective), run_key(config), batch=batch
    )
    if built.step.batches > 1:
        batch = jax.eval_shape(lambda: jax.tree.map(lambda leaf: jnp.stack([leaf] * built.step.batches), batch))
    jax.eval_shape(built.step.update, run_key(config), state.progress, batch)
    return built


def fit_run(run: Run, built: Experiment, *, observe: Observe = "progress", from_step: int | None = None) -> Fitted:
    """Train a run to the steps of its config, from its last checkpoint or from that of an update.

    Args:
      run: where it is, and its config.
      built: its experiment.
      observe: as for `training.fit`; the logs that the config names are told besides.
      from_step: the checkpoint to go on from; later ones are set aside.

    Raises:
      Exception: those of `training.fit`.
    """
    if jax.process_index() == 0:
        keep_standardization(run.directory, built)
    return training.fit(**_arguments(run, built, observe, from_step))


def fit_runs(
    runs: Sequence[tuple[Run, Experiment]], *, begin: Callable[[], None], observe: Observe, from_step: int | None
) -> list[Fitted | training.Diverged]:
    """Train runs that differ by their seeds alone in one program, as `training.fit_together` does.

    Args:
      runs: each with its experiment.
      begin: called when they have been checked.
      observe: told of the first of them.
      from_step: the checkpoint that all go on from.

    Raises:
      ValueError: if they differ by more; `begin` has not been called then.
      Exception: those of `training.fit_together`.
    """
    told = [observe, *[None] * (len(runs) - 1)]
    each = [_arguments(*run, who, from_step) for run, who in zip(runs, told, strict=True)]
    require_alike([Plan(**arguments) for arguments in each])
    begin()
    for run, built in runs:
        keep_standardization(run.directory, built)
    return training.fit_together(each)


def _arguments(run: Run, built: Experiment, observe: Observe, from_step: int | None) -> dict[str, Any]:
    """Return the arguments of `training.fit`."""
    config = run.config
    return {
        "key": run_key(config),
        "step": built.step,
        "objective": built.objective,
        "source": built.source,
        "steps": config.steps,
        "directory": run.directory,
        "log_every": config.log_every,
        "checkpoint_every": config.checkpoint_every,
        "evaluate": _monitor(built),
        "evaluate_every": config.evaluate_every,
        "best": built.best,
        "alarms": built.alarms,
        "monotone": built.monotone,
        "stop": built.stop,
        "mesh": mesh_of(config),
        "draw": None if config.draw_every is None else partial(draw_run, run, built),
        "draw_every": config.draw_every,
        "observe": [*observers(observe), *_logs(config, run.directory)],
        "config_hash": run.identity,
        "resume_from": from_step,
    }


def _logs(config: Config, directory: Path) -> list[Observer]:
    """Return the observers that write the logs which a config names.

    Raises:
      ImportError: if a package that one needs is not installed.
    """
    make = {
        "csv": lambda: training.csv_log(directory / "metrics.csv"),
        "tensorboard": lambda: training.tensorboard_log(directory / "tensorboard"),
        "wandb": lambda: training.wandb_log(directory, config=flat(to_json(config))),
    }
    return [make[name]() for name in dict.fromkeys(config.log)]


def _monitor(built: Experiment) -> training.Evaluate | None:
    measure = built.monitor
    if measure is None:
        return None

    def evaluate(train_state: TrainState) -> Mapping[str, float]:
        # One key for all of them: the same noise makes them comparable.
        key = jax.random.fold_in(train_state.key, _MONITOR)
        seen = training.evaluated(train_state)
        found = measure(key, seen.params, seen.state)
        return {
            f"validation/{name}": value.mean if isinstance(value, Estimate) else float(value)
            for name, value in found.items()
        }

    return evaluate


def saved_state(run: Run, built: Experiment, *, step: Which = "best") -> TrainState:
    """Read a checkpoint of a run.

    Args:
      run: where it is.
      built: its experiment.
      step: which; the best one is the last one where the run keeps no best.

    Raises:
      CheckpointError: if there is none or it is damaged.
      ValueError: if the table that it was trained on has changed.
    """
    require_same_standardization(run.directory, built)
    key = run_key(run.config)
    template = jax.eval_shape(
        lambda batch: training.start(key, built.step, built.objective, batch), first_batch(key, built.source)
    )
    with training.Checkpoints(run.checkpoints, config_hash=run.identity, best=built.best, write=False) as checkpoints:
        named = checkpoints.best_step() if step == "best" else None if step == "last" else step
        return checkpoints.restore(template, step=named)
