"""What to do about checkpoints that are missing or damaged, as a command to type."""

from __future__ import annotations

__all__ = ["checkpoint_steps", "damage_remedied", "require_checkpoint"]

import contextlib
import shlex
from collections.abc import Iterator

from vifx.cli.parse import UsageError
from vifx.experiment.run import Run, train_command
from vifx.training import CheckpointError


def require_checkpoint(run: Run) -> None:
    """Refuse to go on with a run that has made updates and has no checkpoint: it would begin anew unasked.

    Raises:
      UsageError: if it is one.
    """
    log = run.directory / "metrics.jsonl"
    if not checkpoint_steps(run) and log.is_file() and log.stat().st_size:
        again = shlex.join([*train_command(run), "--run", "OTHER"])
        raise UsageError(f"there is no checkpoint in {str(run.directory)!r}; start again with: {again}")


@contextlib.contextmanager
def damage_remedied(run: Run, *, resuming: bool) -> Iterator[None]:
    """Let the error about a damaged checkpoint name the command that goes on from a whole one.

    Args:
      resuming: whether any other checkpoint will do; else the damaged one was meant, which resuming from an earlier
        one makes again, and another has to be named.

    Raises:
      CheckpointError: instead of the error.
    """
    try:
        yield
    except CheckpointError as error:
        if error.step is None or not error.others:
            raise
        others = error.others if resuming else [step for step in error.others if step < error.step]
        resume = shlex.join(["vifx", "resume", str(run.directory), "--from-step", str(max(others, default=0))])
        if resuming:
            remedy = f"go on from another checkpoint with: {resume}"
        elif others:
            remedy = f"make it again with: {resume}"
        else:
            remedy = "no earlier checkpoint is left to make it again from; start the run anew"
        if not resuming:
            remedy += f", or name another checkpoint with --step, of {' or '.join(map(str, error.others))}"
        raise CheckpointError(f"{error.finding}; {remedy}") from error


def checkpoint_steps(run: Run) -> set[int]:
    """Return the updates for which a run has a checkpoint, damaged ones included."""
    if not run.checkpoints.is_dir():
        return set()
    return {int(path.name) for path in run.checkpoints.iterdir() if path.name.isdecimal()}
