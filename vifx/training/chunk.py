"""Many updates on a data source, with the minibatches gathered where they are used."""

from __future__ import annotations

__all__ = [
    "Advance",
    "advance",
    "divided",
    "first_batch",
    "next_minibatches",
]

import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vifx.core.types import Array, Batch, Key, Metrics, PyTree
from vifx.data.full import Full, Whole
from vifx.loops import slow_in_loops
from vifx.training.layout import Layout, put, replicate
from vifx.training.minibatch_sources import ResidentSource, Source, StreamingSource
from vifx.training.sharding import check_divides, data_sharding, over, padded, replicated, shard_batch
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Progress, Step

_TRANSFORM = 0x7472616E  # tells the noise of the data from the noise of the step, which folds in small integers
_TOGETHER, _BYTES = 32, 64 << 20  # updates of a stream that are one call, at most, and the bytes of their minibatches


Advance: TypeAlias = Callable[[TrainState, int, int], tuple[TrainState, Metrics]]
"""``(train_state, first, length) -> (train_state, metrics)``: updates `first` to ``first + length − 1``.

The train state is donated; the metrics have shape ``[length]``.
"""


def first_batch(key: Key, source: Source) -> Batch:
    """Return minibatch 0 as the losses will see it, to initialize networks with."""
    noise = jax.random.fold_in(key, _TRANSFORM)
    if isinstance(source, ResidentSource):
        return _first(_Static(source), noise, source.arrays, source.window(0, 1))
    with _closing(source.batches(0)) as batches:
        batch = jax.tree.map(jnp.asarray, dict(next(batches)))
    return batch if source.transform is None else jax.jit(source.transform)(noise, batch)


@partial(jax.jit, static_argnums=0)
def _first(source: _Static, noise: Key, arrays: Batch, window: PyTree) -> Batch:
    return source().take(noise, arrays, window, jnp.zeros((), jnp.int32))


def next_minibatches(step: Step, source: Source, train_state: TrainState) -> Batch:
    """Return what the next update of a run on one device is made on, as the step sees it."""
    first, key = int(train_state.step) * step.batches, update_keys(train_state.key, train_state.step, 1)
    if isinstance(source, ResidentSource):
        window, turns = source.window(first, step.batches), jnp.arange(step.batches, dtype=jnp.int32)
        return _minibatches(lambda noise, j: source.take(noise, source.arrays, window, j), step, key, turns)
    with _closing(source.batches(first)) as batches:
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *(dict(next(batches)) for _ in range(step.batches)))
    return _minibatches(source.transform or (lambda _noise, minibatch: minibatch), step, key, stacked)


@contextmanager
def advance(step: Step, source: Source, layout: Layout | None, first: int) -> Iterator[Advance]:
    """Open a source for the updates from `first` on.

    A resident source is gathered inside one compiled scan over the updates of a chunk, or update by update where that
    is faster (`vifx.loops`). On a streaming source some updates are a call, and while they run the minibatches of the
    next ones are put on the devices; none of another chunk, which may never be made. Update t takes minibatches ``t·b``
    to ``(t+1)·b − 1`` for a step that consumes b of them, transformed with a key folded from the update's.
    """
    if isinstance(source, ResidentSource):
        yield _resident(step, source, layout)
        return
    share = source.batches(first * step.batches, host=jax.process_index(), hosts=jax.process_count())
    with _closing(share) as batches:
        yield _streaming(step, source, layout, batches)


@contextmanager
def _closing(batches: Iterator[Mapping[str, np.ndarray]]) -> Iterator[Iterator[Mapping[str, np.ndarray]]]:
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()


class _Static:
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
        if not isinstance(other, _Static):
            return False
        mine, theirs = self._find(), other._find()
        return mine is theirs is not None or (isinstance(mine, Whole) and mine == theirs)

    def __call__(self) -> Any:
        return self._find()


def _resident(step: Step, source: ResidentSource, layout: Layout | None) -> Advance:
    static, arrays, slow = _Static(source), _placed(source, _mesh(layout)), None

    def chunk(train_state: TrainState, first: int, length: int) -> tuple[TrainState, Metrics]:
        nonlocal slow
        window = source.window(first * step.batches, length * step.batches)
        if layout is not None:
            train_state, window = layout.place(train_state), replicate(window, layout.mesh)
        examples = (arrays, window)
        if slow is None:
            slow = slow_in_loops(_turn, step, static, layout, *_before(train_state), examples, np.int32(0))
        if not slow:
            return _scan(step, static, layout, length, train_state, examples)
        history = []
        for i in range(length):
            train_state, metrics = _alone(step, static, layout, train_state, examples, np.int32(i))
            history.append(metrics)
        return train_state, jax.tree.map(lambda *values: np.stack(values), *jax.device_get(history))

    return chunk


def _placed(source: ResidentSource, mesh: Mesh | None) -> Batch:
    """Put a source's examples on the devices: divided if every minibatch is all of them, as they are; else copied."""
    if mesh is None:
        return source.arrays
    if isinstance(source, Full) and source.recipe.transform is None:
        arrays, sharding = dict(padded(source.arrays, mesh)), data_sharding(mesh)
        return put(arrays, jax.tree.map(lambda _: sharding, arrays))
    return replicate(source.arrays, mesh)


def _before(train_state: TrainState) -> tuple[Key, Array, Progress]:
    return train_state.key, train_state.step, train_state.progress


@partial(jax.jit, static_argnums=(0, 1, 2))
def _turn(
    step: Step,
    source: _Static,
    layout: Layout | None,
    key: Key,
    number: Array,
    progress: Progress,
    examples: tuple[Batch, PyTree],
    i: Array,
) -> tuple[Progress, Metrics]:
    """Make update `number` with the turn i of a window; traced once, for a scan or alone."""
    key = update_keys(key, number, 1)

    def take(noise: Key, j: Array) -> Batch:
        return source().take(noise, *examples, i * step.batches + j)

    batch = _minibatches(take, step, key, jnp.arange(step.batches, dtype=jnp.int32))
    return _updated(step, layout, key, progress, divided(batch, source(), _mesh(layout), batches=step.batches))


def _mesh(layout: Layout | None) -> Mesh | None:
    return None if layout is None else layout.mesh


def _updated(step: Step, layout: Layout | None, key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
    with over(_mesh(layout)):
        progress, metrics = step.update(key, progress, batch)
    return progress if layout is None else layout.hold(progress), metrics


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def _scan(
    step: Step,
    source: _Static,
    layout: Layout | None,
    length: int,
    train_state: TrainState,
    examples: tuple[Batch, PyTree],
) -> tuple[TrainState, Metrics]:
    key, number, progress = _before(train_state)

    def one(progress: Progress, i: Array) -> tuple[Progress, Metrics]:
        return _turn(step, source, layout, key, number + i, progress, examples, i)

    progress, metrics = jax.lax.scan(one, progress, jnp.arange(length, dtype=jnp.int32))
    return _finish(train_state, progress, metrics, length, layout)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _alone(
    step: Step,
    source: _Static,
    layout: Layout | None,
    train_state: TrainState,
    examples: tuple[Batch, PyTree],
    i: Array,
) -> tuple[TrainState, Metrics]:
    progress, metrics = _turn(step, source, layout, *_before(train_state), examples, i)
    return _finish(train_state, progress, metrics, 1, layout)


def _minibatches(function: Callable[[Key, Any], Batch], step: Step, key: Key, turns: PyTree) -> Batch:
    """Apply ``function(noise, turn)`` to each minibatch of an update; turns have a leading axis."""
    noise = jax.random.fold_in(key, _TRANSFORM)
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


def _finish(
    train_state: TrainState, progress: Progress, metrics: Metrics, length: int, layout: Layout | None
) -> tuple[TrainState, Metrics]:
    after = TrainState(*progress, train_state.key, train_state.step + length)
    if layout is None:
        return after, metrics
    return layout.hold(after), jax.lax.with_sharding_constraint(metrics, replicated(layout.mesh))


def _streaming(
    step: Step, source: StreamingSource, layout: Layout | None, batches: Iterator[Mapping[str, np.ndarray]]
) -> Advance:
    static, together = _Static(source), 0

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
    step: Step, source: _Static, layout: Layout | None, train_state: TrainState, minibatch: Mapping[str, np.ndarray]
) -> int:
    """Return how many updates are one call: an allocation of memory takes as long as a small network's update."""
    one = {name: np.stack([array] * step.batches) for name, array in minibatch.items()}
    if slow_in_loops(_read_update, step, source, layout, *_before(train_state), one):
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
    step: Step, source: _Static, layout: Layout | None, key: Key, number: Array, progress: Progress, batch: Batch
) -> tuple[Progress, Metrics]:
    """Make update `number` with minibatches that were read; traced once, for a scan or alone."""
    transform = source().transform

    def prepare(noise: Key, minibatch: Batch) -> Batch:
        return minibatch if transform is None else transform(noise, minibatch)

    key = update_keys(key, number, 1)
    prepared = divided(_minibatches(prepare, step, key, batch), source(), _mesh(layout), batches=step.batches)
    return _updated(step, layout, key, progress, prepared)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _read_updates(
    step: Step, source: _Static, layout: Layout | None, train_state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Make the updates whose minibatches were read, one after the other."""
    key, number, progress = _before(train_state)
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
    return _finish(train_state, progress, metrics, length, layout)
