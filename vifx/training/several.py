"""Several starts of one step at once, as one compiled program."""

from __future__ import annotations

__all__ = ["several"]

import jax
import jax.numpy as jnp

from vifx.checks import require, require_integer, require_name
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.training.step import Progress, Step, one_update


def several(step: Step, starts: int, *, best: str) -> Step:
    """Make each update of a step from several starts at once, on the same minibatches.

    Every leaf of the parameters has a leading axis of starts, as in
    ``jax.vmap(lambda key: objective.init(key, batch)[0])(jax.random.split(key, starts))``, and so has the slot; start i
    has the key ``fold_in(key, i)``. All starts share the state, which must not depend on parameters, as running
    statistics do. Give `training.fit` the parameters and the state as `initial`.

    Metrics: those of every start, each ``[starts]``, and ``"start"``, the number of the one whose metric `best` is
    largest. In a row of the log, ``"start/3/objective"`` is that of start 3 and ``"objective"`` that of the best one.

    Args:
      step: makes one update of one start.
      starts: how many, at least 1.
      best: the name of a metric of the step, of which larger is better, such as EM's ``"objective"``.

    Raises:
      TypeError: if `step` is not a step, `starts` not an integer or `best` not a text.
      ValueError: if `starts` is not positive or the step is scanned; when traced, if there is no metric `best`, or the
        state depends on the parameters.
    """
    one_update(step, "several")
    require_integer(starts, "several: starts")
    require(best, str, "several: best", "the name of a metric", "give one of the step's, such as 'objective'")

    def keys(key: Key) -> Array:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(starts))

    def init(key: Key, params: Params, state: State) -> PyTree:
        return jax.vmap(step.init, (0, 0, None))(keys(key), params, state)

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        params, state, slot = progress

        def one(key: Key, params: Params, slot: PyTree) -> tuple[Params, State, PyTree, Metrics]:
            (params, state, slot), metrics = step.update(key, Progress(params, progress.state, slot), batch)
            return params, state, slot, metrics

        try:
            params, state, slot, metrics = jax.vmap(one, out_axes=(0, None, 0, 0))(keys(key), params, slot)
        except ValueError as error:
            if "out_axes" not in str(error):
                raise
            raise ValueError(
                "several: the state of a network depends on its parameters, as running statistics do, but all starts "
                "share one state; train the starts one by one"
            ) from error
        winner = jnp.argmax(metrics[require_name(best, metrics, "metric for several: best")]).astype(jnp.int32)
        return Progress(params, state, slot), {**metrics, "start": winner}

    return Step(init, update, lambda transform: several(step.rebuild(transform), starts, best=best), step.batches)
