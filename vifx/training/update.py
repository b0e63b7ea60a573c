"""One update of a run: its minibatches, where they lie, and what comes of it."""

from __future__ import annotations

__all__ = ["TRANSFORM", "Advance", "Static", "before", "divided", "finish", "mesh_of", "minibatches", "updated"]

import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vifx.core.types import Array, Batch, Key, Metrics, PyTree
from vifx.data.full import Full, Whole
from vifx.training.layout import Layout
from vifx.training.minibatch_sources import Source
from vifx.training.sharding import check_divides, data_sharding, over, padded, replicated
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Progress, Step

TRANSFORM = 0x7472616E
"""Tells the noise of the data from the noise of the step, which folds in small integers."""
Advance: TypeAlias = Callable[[TrainState, int, int], tuple[TrainState, Metrics]]
"""``(train_state, first, length) -> (train_state, metrics)``: updates `first` to ``first + length − 1``.

The train state is donated; the metrics have shape ``[length]``.
"""


class Static:
    """A source as a static argument: the same one finds its program again, and so does a `Full` of like transform.

    A program keeps no data alive.
    """

    def __init__(self, source: Source) -> None:
        whole = source.recipe if isinstance(source, Full) else None
        self._find: Callable[[], Any] = weakref.ref(source) if whole is None else lambda: whole
        self._hash = id(source) if whole is None else hash(whole)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static):
            return False
        mine, theirs = self._find(), other._find()
        return mine is theirs is not None or (isinstance(mine, Whole) and mine == theirs)

    def __call__(self) -> Any:
        """Return the source."""
        return self._find()


def before(train_state: TrainState) -> tuple[Key, Array, Progress]:
    """Return the key of a run, the number of its next update, and what that changes."""
    return train_state.key, train_state.step, train_state.progress


def mesh_of(layout: Layout | None) -> Mesh | None:
    """Return the mesh of a layout; None without one."""
    return None if layout is None else layout.mesh


def updated(key: Key, step: Step, layout: Layout | None, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
    """Make an update, and return what it changes where the layout wants it."""
    with over(mesh_of(layout)):
        progress, metrics = step.update(key, progress, batch)
    return progress if layout is None else layout.hold(progress), metrics


def minibatches(key: Key, function: Callable[[Key, Any], Batch], step: Step, turns: PyTree) -> Batch:
    """Apply ``function(noise, turn)`` to each minibatch of an update; turns have a leading axis."""
    noise = jax.random.fold_in(key, TRANSFORM)
    if step.batches == 1:
        return function(noise, jax.tree.map(lambda turn: turn[0], turns))
    return jax.vmap(function)(update_keys(noise, jnp.zeros((), jnp.int32), step.batches), turns)


def divided(batch: Batch, source: Source | Whole, mesh: Mesh | None, *, batches: int = 1) -> Batch:
    """Divide the examples of a minibatch, or of several `batches`, over the devices.

    A minibatch that is the whole data set has no size to choose, and is `padded`.

    Raises:
      ValueError: if the examples of any other minibatch do not divide.
    """
    if mesh is None:
        return batch
    batch = padded(batch, mesh, batches=batches) if isinstance(source, Full | Whole) else batch
    check_divides(batch, mesh, batches=batches)
    return jax.lax.with_sharding_constraint(batch, data_sharding(mesh, batches=batches))


def finish(
    train_state: TrainState, progress: Progress, metrics: Metrics, length: int, layout: Layout | None
) -> tuple[TrainState, Metrics]:
    """Return the train state after a chunk of updates, and their metrics."""
    after = TrainState(*progress, train_state.key, train_state.step + length)
    if layout is None:
        return after, metrics
    return layout.hold(after), jax.lax.with_sharding_constraint(metrics, replicated(layout.mesh))
