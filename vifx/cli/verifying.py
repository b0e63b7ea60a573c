"""`vifx checkpoint verify`: whether the checkpoints of a run are what was written."""

from __future__ import annotations

__all__ = ["verify_command"]

from vifx.cli.console import output
from vifx.cli.options import VerifyOptions
from vifx.cli.parse import Failure, UsageError
from vifx.training import CheckpointError, Checkpoints


def verify_command(options: VerifyOptions) -> None:
    """Read every checkpoint of a run, and say of each whether it is whole: `vifx checkpoint verify RUN`.

    Nothing of the experiment is executed.

    Raises:
      UsageError: if it is no run, or has no such checkpoint.
      Failure: if one is damaged; the others are read all the same.
    """
    folder = options.directory / "checkpoints"
    if not folder.is_dir():
        raise UsageError(f"{str(options.directory)!r} is not a run directory: it has no checkpoints")
    console, damaged = output(), []
    with Checkpoints(folder, write=False) as checkpoints:
        steps = checkpoints.steps()
        if options.step is not None and options.step not in steps:
            raise UsageError(f"{str(folder)!r} has no checkpoint of update {options.step}; there are {steps or 'none'}")
        for step in steps if options.step is None else [options.step]:
            try:
                arrays = checkpoints.verify(step)
            except CheckpointError as error:
                damaged.append(step)
                console.print(f"update {step:,}: {error.finding}", markup=False)
                continue
            size = sum(array.nbytes for array in arrays.values())
            console.print(f"update {step:,}: whole, {len(arrays)} arrays, {size / 1e6:,.1f} MB", markup=False)
    if damaged:
        whole = [step for step in steps if step not in damaged]
        remedy = f"go on from one that is whole with vifx resume --from-step {max(whole)}" if whole else "start anew"
        raise Failure(f"{len(damaged)} of {len(steps)} checkpoints are damaged; {remedy}")
    if not steps:
        raise Failure(f"{str(folder)!r} holds no checkpoint")
