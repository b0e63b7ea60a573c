"""`--debug-checks`: where the first number that is not finite comes from."""

from __future__ import annotations

__all__ = ["located"]

import jax
import jax.numpy as jnp

from vifx import training
from vifx.cli.prepare import run_key, saved_state
from vifx.cli.remedy import checkpoint_steps
from vifx.core.types import Metrics
from vifx.experiment import Experiment
from vifx.experiment.run import Run
from vifx.training import Diverged, TrainState
from vifx.training.chunk import first_batch, next_minibatches
from vifx.training.guard import sound
from vifx.training.origin import Origin, origin
from vifx.training.state import update_keys
from vifx.training.step import Progress


def located(run: Run, built: Experiment, error: Diverged) -> str:
    """Return the message of a run that has diverged, with the operation that made the first bad number.

    The updates are made again from the last checkpoint before, since a run is a function of its config; the one whose
    results are not finite is then evaluated operation by operation.
    """
    train_state = _before(run, built, error.step)
    step, update = built.step, jax.jit(built.step.update)
    for number in range(int(train_state.step) + 1, error.step + 1):
        key = update_keys(train_state.key, train_state.step, 1)
        arguments = key, train_state.progress, next_minibatches(step, built.source, train_state)
        progress, metrics = update(*arguments)
        if not _finite(progress, metrics):
            return f"{error}; {_sentence(number, origin(step.update, *arguments))}"
        after = progress.params, progress.state, progress.slot
        train_state = TrainState(*after, train_state.key, train_state.step + 1)
    return str(error)


def _before(run: Run, built: Experiment, step: int) -> TrainState:
    """Return the state of the last checkpoint before an update, or else the initial one."""
    found = [saved for saved in checkpoint_steps(run) if saved < step]
    if found:
        return saved_state(run, built, step=max(found))
    key = run_key(run.config)
    return training.start(key, built.step, built.objective, first_batch(key, built.source))


def _finite(progress: Progress, metrics: Metrics) -> bool:
    return bool(sound(progress)) and all(bool(jnp.isfinite(value).all()) for value in metrics.values())


def _sentence(number: int, found: Origin | None) -> str:
    if found is None:
        return f"evaluated operation by operation, update {number} is finite"
    return f"at update {number}, {found}"
