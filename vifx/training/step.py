"""A step: the value that training is made of."""

from __future__ import annotations

__all__ = ["LossTransform", "Progress", "Step", "one_update", "require_step"]

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from vifx.checks import require
from vifx.core.types import Batch, Key, Loss, Metrics, Params, PyTree, State

LossTransform: TypeAlias = Callable[[Loss], Loss]


class Progress(NamedTuple):
    """What one update changes.

    Attributes:
      params: the parameters of every network.
      state: the state of every network (batch statistics, counters).
      slot: the step's own memory: optimizer state, averages, anchors.
    """

    params: Params
    state: State
    slot: PyTree


class Step(NamedTuple):
    """One training step as a value; combinators are functions of steps.

    Attributes:
      init: ``(key, params, state) -> slot``.
      update: ``(key, Progress, batch) -> (Progress, Metrics)``. The leaves of `batch` are
        ``[examples, ...]`` when `batches` is 1 and ``[batches, examples, ...]`` when it is more.
        `key` is one key when `length` is 1 and an array of `length` keys when it is more.
      rebuild: ``(LossTransform) -> Step``: the same step with each of its losses transformed,
        which is how gradient accumulation and spectral normalization reach inside a step.
      batches: how many minibatches one call of `update` consumes.
      length: how many updates one call makes, each with a key of its own, so that a scan draws
        exactly the noise that the same updates draw one by one.
    """

    init: Callable[[Key, Params, State], PyTree]
    update: Callable[[Key, Progress, Batch], tuple[Progress, Metrics]]
    rebuild: Callable[[LossTransform], Step]
    batches: int = 1
    length: int = 1


def require_step(step: Step, caller: str) -> None:
    """Check that a `caller` is given a step.

    Raises:
      TypeError: if it is something else, such as an optimizer.
    """
    fix = "make one with training.optimize(objective, optimizer), or training.descend(objective, player, optimizer)"
    require(step, Step, f"{caller}: step", "a training step", fix)


def one_update(step: Step, combinator: str) -> None:
    """Check that a combinator is given a step that makes one update.

    Raises:
      TypeError: if it is not a step.
      ValueError: if it is a scan, which has a key for each update and goes outermost.
    """
    require_step(step, combinator)
    if step.length != 1:
        raise ValueError(
            f"{combinator} needs a step of one update, got a scan of {step.length}; "
            f"write scanned({combinator}(...), {step.length})"
        )
