"""From an experiment file and a config to an experiment that is ready to run, and back to one that has run."""

from __future__ import annotations

__all__ = ["build", "fit_run", "run_key", "saved_state"]

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from vifx import training
from vifx.core.types import Key
from vifx.evaluation import Estimate
from vifx.experiment.config import Config
from vifx.experiment.file import Experiment, ExperimentFile
from vifx.experiment.kept_data import keep_standardization, require_same_standardization
from vifx.experiment.mesh import mesh_of
from vifx.experiment.run import Run
from vifx.experiment.settings import configured, require_read
from vifx.training import Event, Fitted, TrainState
from vifx.training.chunk import divided, first_batch
from vifx.training.minibatch_sources import StreamingSource

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


def fit_run(
    run: Run, built: Experiment, *, observe: Callable[[Event], None] | None = None, from_step: int | None = None
) -> Fitted:
    """Train a run to the steps of its config, from its last checkpoint or from that of an update.

    Args:
      run: where it is, and its config.
      built: its experiment.
      observe: as for `training.fit`.
      from_step: the checkpoint to go on from; later ones are set aside.

    Raises:
      Exception: those of `training.fit`.
    """
    config = run.config
    if jax.process_index() == 0:
        keep_standardization(run.directory, built)
    return training.fit(
        run_key(config),
        built.step,
        built.objective,
        built.source,
        steps=config.steps,
        directory=run.directory,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        evaluate=_monitor(built),
        evaluate_every=config.evaluate_every,
        best=built.best,
        alarms=built.alarms,
        monotone=built.monotone,
        stop=built.stop,
        mesh=mesh_of(config),
        observe=observe,
        config_hash=run.identity,
        resume_from=from_step,
    )


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
