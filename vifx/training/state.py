"""The state of a training run: with the config, all that the next update depends on."""

from __future__ import annotations

__all__ = ["TrainState", "run_key", "start", "update_keys"]

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from vifx.checks import require, require_batch, require_key
from vifx.core.objective import Objective, require_objective
from vifx.core.types import Array, Batch, Key, Params, PyTree, State
from vifx.training.network_names import network_names
from vifx.training.step import Progress, Step, require_step


class TrainState(NamedTuple):
    """Everything that a training run carries from one update to the next.

    Attributes:
      params: the parameters of every network.
      state: the state of every network, and the players' counters.
      slot: the step's own memory.
      key: the run's key, never changed: update number `step` has ``fold_in(key, step)``.
      step: how many updates have been made, int32.
    """

    params: Params
    state: State
    slot: PyTree
    key: Key
    step: Array

    def __repr__(self) -> str:
        size = sum(leaf.size for name in network_names(self.params) for leaf in jax.tree.leaves(self.params[name]))
        at = "" if isinstance(self.step, Tracer | jax.ShapeDtypeStruct) else f" after {self.step} updates"
        return f"TrainState({size:,} parameters of {', '.join(network_names(self.params))}{at})"

    @property
    def progress(self) -> Progress:
        """What an update changes."""
        return Progress(self.params, self.state, self.slot)


def start(
    key: Key, step: Step, objective: Objective, batch: Batch, *, initial: tuple[Params, State] | None = None
) -> TrainState:
    """Initialize networks and the step's memory, in one compiled call.

    Args:
      key: the seed of the whole run: initialization and every later draw.
      step: the training step.
      objective: gives the networks.
      batch: one minibatch ``[examples, ...]``, as the losses will see it.
      initial: parameters and state to begin with rather than the objective's; they are copied, and not checked
        against the batch.

    Raises:
      TypeError: if `key` is not a typed key, `step` not a step, `objective` not an objective, `batch` not a
        mapping of arrays, or `initial` not a pair of mappings.
      ValueError: if `key` is an array of keys, an array of the batch has no axis of examples, or a density of the
        objective makes a value of the batch impossible.
    """
    require_key(key)
    require_step(step, "start")
    require_objective(objective, "start")
    require_batch(batch)
    if initial is not None:
        given = "(params, state)", "give those of a train state, (train_state.params, train_state.state)"
        for part in require(initial, tuple, "start: initial", *given):
            require(part, Mapping, "start: initial", *given)
        return _start(step, objective, key, {}, initial)
    begun = _start(step, objective, key, batch, None)
    objective.check(begun.params, begun.state, batch)
    return begun


@partial(jax.jit, static_argnums=(0, 1))
def _start(
    step: Step, objective: Objective, key: Key, batch: Batch, initial: tuple[Params, State] | None
) -> TrainState:
    init_key, slot_key, run_key = _split(key)
    params, state = objective.init(init_key, batch) if initial is None else jax.tree.map(jnp.copy, initial)
    params, state = dict(params), dict(state)
    slot = step.init(slot_key, params, state)
    return TrainState(params, state, slot, run_key, jnp.zeros((), jnp.int32))


def run_key(key: Key) -> Key:
    """Return the key that `start` gives a run."""
    return _split(key)[2]


def _split(key: Key) -> Key:
    return jax.random.split(key, 3)


def update_keys(key: Key, first: Array, length: int) -> Key:
    """Return the key of update `first`, or the array of keys of `length` updates from there.

    They are ``fold_in(key, t)``, so that a scan draws what single updates draw.
    """
    if length == 1:
        return jax.random.fold_in(key, first)
    steps = first + jnp.arange(length, dtype=first.dtype)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, steps)
