"""The exponential moving average of the parameters."""

from __future__ import annotations

__all__ = ["Averaged", "averaged", "averaged_params", "evaluated"]

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from optax.contrib import ScheduleFreeState, schedule_free_eval_params

from vifx.checks import require, require_number
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.training.network_names import network_names
from vifx.training.state import TrainState
from vifx.training.step import Progress, Step, one_update


class Averaged(NamedTuple):
    """The slot of `averaged`.

    Attributes:
      slot: the slot of the step inside.
      params: the average of every network's parameters.
      updates: how many updates it averages, int32.
    """

    slot: PyTree
    params: Params
    updates: Array


def averaged(step: Step, decay: float) -> Step:
    """Average the parameters over the updates, for evaluation; training itself does not change.

    After t updates with parameters θ₁ … θ_t and decay d, the average is

        θ̄_t = (1 − d) Σ_i d^(t−i) θ_i / (1 − d^t),

    the exponential moving average *without* the bias towards where it started: θ̄₁ = θ₁, a
    constant sequence averages to itself, and θ₀ has no weight. It is kept as the recursion
    ``θ̄_t = θ̄_{t−1} + (1 − d)/(1 − d^t) · (θ_t − θ̄_{t−1})``. Leaves that are not floating-point
    are copied. Read it with `averaged_params`.

    Raises:
      TypeError: if `step` is not a step, or `decay` not a number.
      ValueError: if `decay` is not in (0, 1), or the step is scanned.
    """
    one_update(step, "averaged")
    if not 0 < require_number(decay, "averaged: decay") < 1:
        raise ValueError(f"averaged needs 0 < decay < 1, got {decay}")

    def init(key: Key, params: Params, state: State) -> Averaged:
        average = {name: params[name] for name in network_names(params)}
        return Averaged(step.init(key, params, state), jax.tree.map(jnp.copy, average), jnp.zeros((), jnp.int32))

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        slot, average, updates = progress.slot
        progress, metrics = step.update(key, progress._replace(slot=slot), batch)
        updates = updates + jnp.ones_like(updates)

        def move(old: Array, new: Array) -> Array:
            if not jnp.issubdtype(new.dtype, jnp.inexact):
                return new
            real = jnp.finfo(new.dtype).dtype
            rate = (1 - decay) / -jnp.expm1(updates.astype(real) * math.log(decay))
            return old + rate.astype(new.dtype) * (new - old)

        average = jax.tree.map(move, average, {name: progress.params[name] for name in average})
        return progress._replace(slot=Averaged(progress.slot, average, updates)), metrics

    return Step(init, update, lambda transform: averaged(step.rebuild(transform), decay), step.batches)


def averaged_params(slot: PyTree) -> Params:
    """Return the averaged parameters that a slot holds, wherever in it they are.

    Before the first update they are the initial parameters.

    Raises:
      ValueError: if the slot has no average, or more than one.
    """
    found = _averages(slot)
    if len(found) != 1:
        raise ValueError(f"expected one averaged(...) in the step, found {len(found)}; wrap the whole step once")
    return found[0]


def evaluated(train_state: TrainState) -> TrainState:
    """Return a train state as evaluation sees it: with averaged parameters where its step keeps an average.

    The average is that of `averaged`, or of an optimizer ``optax.contrib.schedule_free``, whose other networks stay as
    they are. The state of the networks, such as running statistics, is the present one.

    Raises:
      TypeError: if it is not a train state.
      ValueError: if the slot has more than one average.
    """
    require(
        train_state, TrainState, "evaluated: train_state", "a TrainState", "training.start and training.fit make one"
    )
    params, slot = train_state.params, train_state.slot
    if _averages(slot):
        return train_state._replace(params={**params, **averaged_params(slot)})
    for free in _nodes(slot, ScheduleFreeState):
        params = {**params, **schedule_free_eval_params(free, {name: params[name] for name in free.z})}
    return train_state._replace(params=params)


def _averages(slot: PyTree) -> list[Params]:
    return [node.params for node in _nodes(slot, Averaged)]


def _nodes(slot: PyTree, kind: type) -> list[Any]:
    leaves = jax.tree.leaves(slot, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in leaves if isinstance(node, kind)]
