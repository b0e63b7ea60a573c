"""Many updates on a data source, with the minibatches gathered where they are used."""

from __future__ import annotations

__all__ = [
    "advance",
    "advance_together",
    "first_batch",
    "next_minibatches",
    "program",
]

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vifx.core.types import Array, Batch, Key, Metrics, PyTree
from vifx.data.full import Full
from vifx.loops import slow_in_loops
from vifx.training.layout import Layout, put, replicate
from vifx.training.minibatch_sources import ResidentSource, Source
from vifx.training.sharding import data_sharding, padded
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Progress, Step
from vifx.training.stream_chunk import streaming
from vifx.training.update import TRANSFORM, Advance, Static, before, divided, finish, mesh_of, minibatches, updated


def first_batch(key: Key, source: Source) -> Batch:
    """Return minibatch 0 as the losses will see it, to initialize networks with."""
    noise = jax.random.fold_in(key, TRANSFORM)
    if isinstance(source, ResidentSource):
        return _first(Static(source), noise, source.arrays, source.window(0, 1))
    with _closing(source.batches(0)) as batches:
        batch = jax.tree.map(jnp.asarray, dict(next(batches)))
    return batch if source.transform is None else jax.jit(source.transform)(noise, batch)


@partial(jax.jit, static_argnums=0)
def _first(source: Static, noise: Key, arrays: Batch, window: PyTree) -> Batch:
    return source().take(noise, arrays, window, jnp.zeros((), jnp.int32))


def next_minibatches(step: Step, source: Source, train_state: TrainState) -> Batch:
    """Return what the next update of a run on one device is made on, as the step sees it."""
    first, key = int(train_state.step) * step.batches, update_keys(train_state.key, train_state.step, 1)
    if isinstance(source, ResidentSource):
        window, turns = source.window(first, step.batches), jnp.arange(step.batches, dtype=jnp.int32)
        return minibatches(key, lambda noise, j: source.take(noise, source.arrays, window, j), step, turns)
    with _closing(source.batches(first)) as batches:
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *(dict(next(batches)) for _ in range(step.batches)))
    return minibatches(key, source.transform or (lambda _noise, minibatch: minibatch), step, stacked)


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
        yield streaming(step, source, layout, batches)


@contextmanager
def _closing(batches: Iterator[Mapping[str, np.ndarray]]) -> Iterator[Iterator[Mapping[str, np.ndarray]]]:
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()


def _resident(step: Step, source: ResidentSource, layout: Layout | None) -> Advance:
    static, arrays, slow = Static(source), _placed(source, mesh_of(layout)), None

    def chunk(train_state: TrainState, first: int, length: int) -> tuple[TrainState, Metrics]:
        nonlocal slow
        window = source.window(first * step.batches, length * step.batches)
        if layout is not None:
            train_state, window = layout.place(train_state), replicate(window, layout.mesh)
        examples = (arrays, window)
        if slow is None:
            slow = slow_in_loops(_turn, step, static, layout, *before(train_state), examples, np.int32(0))
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


@partial(jax.jit, static_argnums=(0, 1, 2))
def _turn(
    step: Step,
    source: Static,
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

    batch = minibatches(key, take, step, jnp.arange(step.batches, dtype=jnp.int32))
    return updated(key, step, layout, progress, divided(batch, source(), mesh_of(layout), batches=step.batches))


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def _scan(
    step: Step,
    source: Static,
    layout: Layout | None,
    length: int,
    train_state: TrainState,
    examples: tuple[Batch, PyTree],
) -> tuple[TrainState, Metrics]:
    key, number, progress = before(train_state)

    def one(progress: Progress, i: Array) -> tuple[Progress, Metrics]:
        return _turn(step, source, layout, key, number + i, progress, examples, i)

    progress, metrics = jax.lax.scan(one, progress, jnp.arange(length, dtype=jnp.int32))
    return finish(train_state, progress, metrics, length, layout)


def advance_together(step: Step, sources: Sequence[ResidentSource]) -> Advance:
    """Return what makes updates of several runs, whose sources have the same examples in different orders.

    Every leaf of the train state and of the metrics has a leading axis of runs.
    """
    static, arrays = Static(sources[0]), sources[0].arrays

    def chunk(train_states: TrainState, first: int, length: int) -> tuple[TrainState, Metrics]:
        windows = [each.window(first * step.batches, length * step.batches) for each in sources]
        stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *windows)
        return _scan_together(step, static, length, train_states, arrays, stacked)

    return chunk


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _scan_together(
    step: Step, source: Static, length: int, train_states: TrainState, arrays: Batch, windows: PyTree
) -> tuple[TrainState, Metrics]:
    def alone(train_state: TrainState, window: PyTree) -> tuple[TrainState, Metrics]:
        return _scan(step, source, None, length, train_state, (arrays, window))

    return jax.vmap(alone)(train_states, windows)


def program(step: Step, source: ResidentSource, train_state: TrainState) -> str:
    """Return the program of an update, its constants included, as a text.

    Args:
      step: makes the update.
      source: gives the minibatches.
      train_state: its shapes suffice.
    """
    examples = source.arrays, source.window(0, step.batches)
    return _turn.lower(step, Static(source), None, *before(train_state), examples, np.int32(0)).as_text()


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _alone(
    step: Step,
    source: Static,
    layout: Layout | None,
    train_state: TrainState,
    examples: tuple[Batch, PyTree],
    i: Array,
) -> tuple[TrainState, Metrics]:
    progress, metrics = _turn(step, source, layout, *before(train_state), examples, i)
    return finish(train_state, progress, metrics, 1, layout)
