"""Components that nothing belongs to get half of the largest one."""

from __future__ import annotations

__all__ = ["MOST", "Reseeded", "reseeded"]

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.em.initial import best_params
from vifx.em.model import Model
from vifx.training import Progress, Step

MOST = 10
"""After how many updates that filled an empty component a start leaves them as they are."""


class Reseeded(NamedTuple):
    """The slot of `reseeded`, of each start.

    Attributes:
      slot: the slot of the step inside.
      times: how many updates filled a component, int32.
      anew: 1 if the last one did, int32.
    """

    slot: PyTree
    times: Array
    anew: Array


def reseeded(step: Step, model: Model, starts: int) -> Step:
    """Fill a component that is empty in the E step of an update, ten times at most.

    Each example gives a random share of its responsibility for the largest component to the emptiest one, and an M
    step follows, in place of that of `step`. States of a chain are left as they are.

    Metrics, int32, of each of several starts: ``"reseeded/<latent>"``, the component that was filled, or −1;
    ``"split/<latent>"``, the component that gave, or −1; ``"anew/objective"``, 1 if the update before filled one, so
    that the objective may be below that of before.

    Args:
      step: `training.solve` of the model, or `training.several` of it.
      starts: how many starts the step has; of one, its parameters have no axis of starts.
    """
    if model.latent_axes > 1:
        return step
    shape = (starts,) if starts > 1 else ()

    def init(key: Key, params: Params, state: State) -> Reseeded:
        return Reseeded(step.init(key, params, state), jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32))

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        (inner, times, anew), before = progress.slot, progress.params
        progress, metrics = step.update(jax.random.fold_in(key, 0), progress._replace(slot=inner), batch)
        due = (metrics[f"empty/{model.latent}"] > 0) & (times < MOST)

        def one(given: tuple[Key, Array, Params, Params]) -> tuple[Params, Array, Array]:
            key, due, before, after = given
            found = _split(model, key, before, progress.state, batch)
            return jax.tree.map(partial(jnp.where, due), found, _left(after))

        def fill(after: Params) -> tuple[Params, Array, Array]:
            own = jax.random.fold_in(key, 1)
            if starts == 1:
                return one((own, due, before, after))
            return jax.lax.map(one, (jax.random.split(own, starts), due, before, after))

        params, filled, gave = jax.lax.cond(jnp.any(due), fill, partial(_left, shape=shape), progress.params)
        report = {f"reseeded/{model.latent}": filled, f"split/{model.latent}": gave, "anew/objective": anew}
        anew = (filled >= 0).astype(jnp.int32)
        slot = Reseeded(progress.slot, times + anew, anew)
        return Progress(params, progress.state, slot), {**metrics, **report}

    return Step(init, update, lambda transform: reseeded(step.rebuild(transform), model, starts), step.batches)


def _left(params: Params, shape: tuple[int, ...] = ()) -> tuple[Params, Array, Array]:
    return dict(params), jnp.full(shape, -1, jnp.int32), jnp.full(shape, -1, jnp.int32)


def _split(model: Model, key: Key, params: Params, state: State, batch: Batch) -> tuple[Params, Array, Array]:
    """Return the parameters after the split, the component that was filled, and the one that gave."""
    responsibilities = model.posterior(params, state, model.data(batch)).probs
    weights = batch["@weights"][:, None] if "@weights" in batch else jnp.ones((), responsibilities.dtype)
    counts = jnp.sum(responsibilities * jnp.broadcast_to(weights, responsibilities.shape), axis=0)
    empty, largest = jnp.argmin(counts).astype(jnp.int32), jnp.argmax(counts).astype(jnp.int32)
    share = jax.random.uniform(key, responsibilities.shape[:1], responsibilities.dtype) * responsibilities[:, largest]
    responsibilities = responsibilities.at[:, largest].add(-share).at[:, empty].add(share)
    return dict(best_params(model, params, state, {**batch, "@responsibilities": responsibilities})), empty, largest
