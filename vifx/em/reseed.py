"""Components that nothing belongs to get half of the largest one."""

from __future__ import annotations

__all__ = ["reseed"]

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, Batch, Key, Metrics, Params, State
from vifx.distributions import Finite
from vifx.em.model import Model
from vifx.training import Progress, solve


def reseed(
    key: Key, model: Model, batch: Batch, before: Params, after: Params, state: State, metrics: Metrics
) -> tuple[Params, list[str]]:
    """Return the updated parameters, without components that are empty in the E step before; and what was done.

    Each example gives a random share of its responsibility for the largest component to the empty one, and an M step
    follows. States of a chain are left as they are.

    Args:
      key: random key for the shares.
      model: what is fitted.
      batch: the data.
      before: the parameters of the E step, ``[starts, ...]``.
      after: those of the M step.
      state: what they share.
      metrics: of the E step, ``[starts]``.
    """
    name = f"empty/{model.latent}"
    if name not in metrics or not (counts := np.asarray(metrics[name])).any():
        return after, []
    messages = []
    for start in np.flatnonzero(counts):
        own = jax.tree.map(lambda leaf, start=start: leaf[start], before)
        posterior = model.posterior(own, state, batch[model.observed])
        if not isinstance(posterior, Finite):
            continue
        moved, empty, largest = _split(model, jax.random.fold_in(key, int(start)), own, state, batch, posterior.probs)
        after = jax.tree.map(lambda all, one, start=start: all.at[start].set(one), after, moved)
        messages.append(f"start {start}: component {int(empty)} was empty and got half of component {int(largest)}")
    return after, messages


@partial(jax.jit, static_argnums=0)
def _split(
    model: Model, key: Key, params: Params, state: State, batch: Batch, responsibilities: Array
) -> tuple[Params, Array, Array]:
    weights = batch["@weights"][:, None] if "@weights" in batch else jnp.ones((), responsibilities.dtype)
    counts = jnp.sum(responsibilities * jnp.broadcast_to(weights, responsibilities.shape), axis=0)
    empty, largest = jnp.argmin(counts), jnp.argmax(counts)
    share = jax.random.uniform(key, responsibilities.shape[:1], responsibilities.dtype) * responsibilities[:, largest]
    responsibilities = responsibilities.at[:, largest].add(-share).at[:, empty].add(share)
    step = solve(model.objective, "model")
    still = jax.random.key(0)  # nothing is drawn
    progress, _ = step.update(still, Progress(params, state, ()), {**batch, "@responsibilities": responsibilities})
    return progress.params, empty, largest
