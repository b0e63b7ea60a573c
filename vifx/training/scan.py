"""Many updates in one compiled call."""

from __future__ import annotations

__all__ = ["scanned"]

import warnings

import jax

from vifx.checks import require_batch, require_integer
from vifx.core.types import Array, Batch, Metrics
from vifx.loops import first_step, slow_in_loops
from vifx.training.step import Progress, Step, one_update


def scanned(step: Step, length: int) -> Step:
    """Make `length` updates in one compiled loop, each with its own key and minibatches.

    `update` takes an array of `length` keys and ``length · step.batches`` minibatches, and its
    metrics have shape ``[length]``: one value for each update, nothing averaged. A scan of
    length 1 is the step itself.

    Raises:
      TypeError: if `step` is not a step, or `length` not an integer.
      ValueError: if `length` is not positive, or the step is a scan already.

    Warns:
      UserWarning: if the step has convolutions of XLA's and runs on a CPU, where loops slow them down (`vifx.loops`).
    """
    one_update(step, "scanned")
    require_integer(length, "scanned: length")
    if length == 1:
        return step

    def update(keys: Array, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        require_batch(batch, minibatches=length * step.batches)

        def one(progress: Progress, turn: tuple[Array, Batch]) -> tuple[Progress, Metrics]:
            key, share = turn
            return step.update(key, progress, share)

        shares = batch
        if step.batches > 1:
            shares = {name: v.reshape(length, step.batches, *v.shape[1:]) for name, v in batch.items()}
        once = jax.jit(one)
        if slow_in_loops(once, progress, first_step((keys, shares))):
            warnings.warn(
                "scanned: on a CPU, the weight gradients of XLA's convolutions take many times as long in a loop; "
                "compile the step without the scan, as training.fit does, or make the network of vifx.networks.Conv.",
                stacklevel=2,
            )
        return jax.lax.scan(once, progress, (keys, shares))

    return Step(
        step.init,
        update,
        lambda transform: scanned(step.rebuild(transform), length),
        length * step.batches,
        length,
    )
