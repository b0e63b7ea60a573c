"""A step as one compiled program."""

from __future__ import annotations

__all__ = ["compile"]

from collections.abc import Callable
from functools import partial

import jax
from jax.sharding import Mesh

from vifx.checks import require, require_batch
from vifx.core.types import Batch, Metrics
from vifx.training.sharding import replicate, replicated, require_mesh, shard_batch
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Step, require_step


def compile(step: Step, mesh: Mesh | None = None) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Compile a step to ``(train_state, batch) -> (train_state, metrics)``.

    The train state is donated: the one passed in is gone, the batch is kept. Update number t has
    the key ``fold_in(train_state.key, t)``, in a scan too. On a mesh the batch is divided over
    the axis ``data`` and everything else is on every device; results agree with one device up
    to the order of sums. It traces once, and compiling the same step again costs nothing.

    Raises:
      TypeError: if `step` is not a step; when called, if what it is called with is not a train state, or not a batch.
      ValueError: when called, if the examples do not divide over the mesh, or an array lacks the axis of minibatches.
    """
    require_step(step, "compile")
    if mesh is None:
        return partial(_update, step, None)
    everywhere = replicated(require_mesh(mesh, "compile"))

    def on_mesh(train_state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        _check(step, train_state, batch)
        if train_state.step.sharding != everywhere:
            train_state = replicate(train_state, mesh)
        return _update(step, mesh, train_state, shard_batch(batch, mesh, batches=step.batches))

    return on_mesh


def _check(step: Step, train_state: TrainState, batch: Batch) -> None:
    require(train_state, TrainState, "train_state", "a TrainState", "make one with training.start")
    require_batch(batch, minibatches=step.batches)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _update(step: Step, mesh: Mesh | None, train_state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    _check(step, train_state, batch)
    keys = update_keys(train_state.key, train_state.step, step.length)
    progress, metrics = step.update(keys, train_state.progress, batch)
    result = TrainState(*progress, train_state.key, train_state.step + step.length), metrics
    return result if mesh is None else jax.lax.with_sharding_constraint(result, replicated(mesh))
