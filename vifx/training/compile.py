"""A step as one compiled program."""

from __future__ import annotations

__all__ = ["compile", "lowered"]

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from vifx.checks import require, require_batch
from vifx.core.types import Batch, Metrics, PyTree
from vifx.training.layout import Layout, Rule
from vifx.training.sharding import check_divides, data_sharding, over, replicated, shard_batch
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Step, require_step


def compile(
    step: Step, mesh: Mesh | None = None, *, sharding: Rule | None = None
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Compile a step to ``(train_state, batch) -> (train_state, metrics)``.

    The train state is donated: the one passed in is gone, the batch is kept. Update number t has
    the key ``fold_in(train_state.key, t)``, in a scan too. On a mesh the batch is divided over
    the axes ``data`` and ``fsdp``, and the train state lies as a rule says; results agree with one device up
    to the order of sums. It traces once, and compiling the same step again costs nothing.

    Args:
      step: what makes an update.
      mesh: the devices, as `make_mesh` returns them; None for one device.
      sharding: ``(path, shape) -> PartitionSpec``, how the arrays of the train state are divided over the mesh; by
        default `fsdp` where the mesh has such an axis, else they are whole on every device.

    Raises:
      TypeError: if `step` is not a step, or `mesh` not a mesh; when called, if what it is called with is not a train
        state, or not a batch.
      ValueError: if the mesh has no axis ``data``; when called, if the examples do not divide over the mesh, or an
        array lacks the axis of minibatches.
    """
    require_step(step, "compile")
    layout = Layout.checked(mesh, sharding, "compile")
    if layout is None:
        return partial(_update, step, None)
    everywhere = replicated(layout.mesh)

    def on_mesh(train_state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        _check(step, train_state, batch)
        if train_state.step.sharding != everywhere:
            train_state = layout.place(train_state)
        return _update(step, layout, train_state, shard_batch(batch, layout.mesh, batches=step.batches))

    return on_mesh


def lowered(
    step: Step, train_state: TrainState, batch: Batch, mesh: Mesh | None = None, *, sharding: Rule | None = None
) -> Any:
    """Return the program of `compile`, lowered for shapes and for devices that need not be there.

    Raises:
      TypeError: if the mesh is not a mesh.
      ValueError: if the examples do not divide over it.
    """
    layout = Layout.checked(mesh, sharding, "cost")
    if layout is None:
        return _update.lower(step, None, *_shapes((train_state, batch)))
    check_divides(batch, layout.mesh, batches=step.batches)
    divided = data_sharding(layout.mesh, batches=step.batches)
    state = jax.tree.map(_shape, train_state, layout.shardings(train_state))
    return _update.lower(step, layout, state, jax.tree.map(partial(_shape, sharding=divided), batch))


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(_shape, tree)


def _shape(leaf: Any, sharding: Any = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check(step: Step, train_state: TrainState, batch: Batch) -> None:
    require(train_state, TrainState, "train_state", "a TrainState", "make one with training.start")
    require_batch(batch, minibatches=step.batches)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _update(step: Step, layout: Layout | None, train_state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    _check(step, train_state, batch)
    keys = update_keys(train_state.key, train_state.step, step.length)
    with over(None if layout is None else layout.mesh):
        progress, metrics = step.update(keys, train_state.progress, batch)
    after = TrainState(*progress, train_state.key, train_state.step + step.length)
    if layout is None:
        return after, metrics
    return layout.hold(after), jax.lax.with_sharding_constraint(metrics, replicated(layout.mesh))
