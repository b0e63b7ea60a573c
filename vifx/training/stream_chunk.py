"""Many updates on a stream: while some are made, the minibatches of the next ones are put on the devices."""

from __future__ import annotations

__all__ = ["streaming"]

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, Batch, Key, Metrics
from vifx.loops import slow_in_loops
from vifx.training.layout import Layout
from vifx.training.minibatch_sources import StreamingSource
from vifx.training.sharding import shard_batch
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Progress, Step
from vifx.training.update import Advance, Static, before, divided, finish, mesh_of, minibatches, updated

_TOGETHER, _BYTES = 32, 64 << 20  # updates that are one call, at most, and the bytes of their minibatches


def streaming(
    step: Step, source: StreamingSource, layout: Layout | None, batches: Iterator[Mapping[str, np.ndarray]]
) -> Advance:
    """Return what makes updates on the minibatches that an iterator yields, some of them a call."""
    static, together = Static(source), 0

    def place(updates: int) -> Batch:
        """Put the minibatches of the next updates on the devices, without waiting for them to be there."""
        share = [next(batches) for _ in range(updates * step.batches)]
        batch = {name: np.stack([minibatch[name] for minibatch in share]) for name in share[0]}
        return jax.device_put(batch) if layout is None else shard_batch(batch, layout.mesh, batches=2)

    def chunk(train_state: TrainState, first: int, length: int) -> tuple[TrainState, Metrics]:
        del first  # the iterator stands there
        nonlocal batches, together
        if layout is not None:
            train_state = layout.place(train_state)
        if not together:
            minibatch = next(batches)
            batches, together = chain([minibatch], batches), _most(step, static, layout, train_state, minibatch)
        groups, history = _groups(length, together), []
        placed = place(groups[0])
        for i in range(len(groups)):
            train_state, metrics = _read_updates(step, static, layout, train_state, placed)
            history.append(metrics)
            if i + 1 < len(groups):
                placed = place(groups[i + 1])
            if i:  # so that the minibatches of few updates are on the devices
                jax.block_until_ready(history[i - 1])
        return train_state, jax.tree.map(lambda *values: np.concatenate(values), *jax.device_get(history))

    return chunk


def _most(
    step: Step, source: Static, layout: Layout | None, train_state: TrainState, minibatch: Mapping[str, np.ndarray]
) -> int:
    """Return how many updates are one call: an allocation of memory takes as long as a small network's update."""
    one = {name: np.stack([array] * step.batches) for name, array in minibatch.items()}
    if slow_in_loops(_read_update, step, source, layout, *before(train_state), one):
        return 1
    return max(1, min(_TOGETHER, _BYTES // max(1, sum(array.nbytes for array in one.values()))))


def _groups(length: int, most: int) -> list[int]:
    """Divide the updates of a chunk into calls, of one length if one is long enough: each has its own program."""
    divisor = max(d for d in range(1, min(most, length) + 1) if length % d == 0)
    if 2 * divisor > min(most, length):
        return [divisor] * (length // divisor)
    calls = -(-length // most)
    return [length // calls + (i < length % calls) for i in range(calls)]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _read_update(
    step: Step, source: Static, layout: Layout | None, key: Key, number: Array, progress: Progress, batch: Batch
) -> tuple[Progress, Metrics]:
    """Make update `number` with minibatches that were read; traced once, for a scan or alone."""
    transform = source().transform

    def prepare(noise: Key, minibatch: Batch) -> Batch:
        return minibatch if transform is None else transform(noise, minibatch)

    key = update_keys(key, number, 1)
    prepared = divided(minibatches(key, prepare, step, batch), source(), mesh_of(layout), batches=step.batches)
    return updated(key, step, layout, progress, prepared)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _read_updates(
    step: Step, source: Static, layout: Layout | None, train_state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Make the updates whose minibatches were read, one after the other."""
    key, number, progress = before(train_state)
    length = len(jax.tree.leaves(batch)[0]) // step.batches
    turns = jax.tree.map(lambda leaf: leaf.reshape(length, step.batches, *leaf.shape[1:]), batch)

    def one(progress: Progress, turn: tuple[Array, Batch]) -> tuple[Progress, Metrics]:
        return _read_update(step, source, layout, key, number + turn[0], progress, turn[1])

    turns = jnp.arange(length, dtype=jnp.int32), turns
    if length > 1:
        progress, metrics = jax.lax.scan(one, progress, turns)
    else:
        progress, metrics = one(progress, jax.tree.map(lambda leaf: leaf[0], turns))
        metrics = jax.tree.map(lambda value: value[None], metrics)
    return finish(train_state, progress, metrics, length, layout)
