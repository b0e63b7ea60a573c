"""Constraints on networks: inside the loss, or as a projection after the update."""

from __future__ import annotations

__all__ = ["constrained"]

from collections.abc import Callable

from vifx.checks import require_function
from vifx.core.types import Batch, Key, Metrics, Params
from vifx.training.network_names import network_names
from vifx.training.step import LossTransform, Progress, Step, one_update


def constrained(
    step: Step,
    *,
    loss: LossTransform | None = None,
    update: Callable[[Params], Params] | None = None,
) -> Step:
    """Constrain what a step learns.

    `loss` transforms each of the step's losses: spectral normalization replaces W by W/‖W‖₂
    there, so that the gradient flows through the constraint. `update` maps the parameters of
    all networks after the update (anchors are kept from it): weight clipping is a projection
    W ← clip(W, −c, c).

    Raises:
      TypeError: if `step` is not a step, or the others not functions.
      ValueError: if neither is given, or the step is scanned.
    """
    one_update(step, "constrained")
    if loss is None and update is None:
        raise ValueError("constrained needs loss=, update= or both, got neither")
    if loss is not None:
        require_function(loss, "constrained: loss", "(loss) -> loss")
    if update is not None:
        require_function(update, "constrained: update", "(params) -> params")
    inner = step if loss is None else step.rebuild(loss)
    return inner if update is None else _projected(inner, update)


def _projected(step: Step, project: Callable[[Params], Params]) -> Step:
    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        progress, metrics = step.update(key, progress, batch)
        params = progress.params
        projected = project({name: params[name] for name in network_names(params)})
        return progress._replace(params={**params, **projected}), metrics

    return Step(step.init, update, lambda transform: _projected(step.rebuild(transform), project), step.batches)
