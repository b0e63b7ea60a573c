"""The updates of a run, made again to find the one that went wrong."""

from __future__ import annotations

__all__ = ["Found", "replay"]

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.training.chunk import next_minibatches
from vifx.training.guard import sound
from vifx.training.minibatch_sources import Source
from vifx.training.origin import Origin, origin
from vifx.training.state import TrainState, update_keys
from vifx.training.step import Step


class Found(NamedTuple):
    """An update whose results are not all finite.

    Attributes:
      update: its number, counted from 1.
      origin: where the first bad number comes from; None if all are finite when it is evaluated by operations.
    """

    update: int
    origin: Origin | None


def replay(step: Step, source: Source, train_state: TrainState, last: int) -> Found | None:
    """Make updates again, on one device, up to the first whose results are not all finite; None if all are.

    They are the updates of the run, since a run is a function of its key and the number of the update.

    Args:
      step: of the run.
      source: of the run.
      train_state: where to begin; it is kept.
      last: the last update to make.
    """
    update = jax.jit(step.update)
    for number in range(int(train_state.step) + 1, last + 1):
        key = update_keys(train_state.key, train_state.step, 1)
        arguments = train_state.progress, next_minibatches(step, source, train_state)
        after, metrics = update(jax.random.clone(key), *arguments)
        if not (sound(after) and all(bool(jnp.isfinite(value).all()) for value in metrics.values())):
            return Found(number, origin(step.update, key, *arguments))
        train_state = TrainState(after.params, after.state, after.slot, train_state.key, train_state.step + 1)
    return None
