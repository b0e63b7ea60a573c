"""`--debug-checks`: where the first number that is not finite comes from."""

from __future__ import annotations

__all__ = ["located"]

from vifx import training
from vifx.cli.remedy import checkpoint_steps
from vifx.experiment import Experiment
from vifx.experiment.building import run_key, saved_state
from vifx.experiment.run import Run
from vifx.training import Diverged, TrainState
from vifx.training.chunk import first_batch
from vifx.training.replay import replay


def located(run: Run, built: Experiment, error: Diverged) -> str:
    """Return the message of a run that has diverged, with the operation that made the first bad number.

    The updates are made again from the last checkpoint before, since a run is a function of its config; the one whose
    results are not finite is then evaluated operation by operation.
    """
    found = replay(built.step, built.source, _before(run, built, error.step), error.step)
    if found is None:
        return str(error)
    if found.origin is None:
        return f"{error}; evaluated operation by operation, update {found.update} is finite"
    return f"{error}; at update {found.update}, {found.origin}"


def _before(run: Run, built: Experiment, step: int) -> TrainState:
    """Return the state of the last checkpoint before an update, or else the initial one."""
    found = [saved for saved in checkpoint_steps(run) if saved < step]
    if found:
        return saved_state(run, built, step=max(found))
    key = run_key(run.config)
    return training.start(key, built.step, built.objective, first_batch(key, built.source))
