"""What every experiment can be told about arithmetic, memory and what is measured, applied to one that is built."""

from __future__ import annotations

__all__ = ["configured", "require_read"]

import copy
import dataclasses
from collections.abc import Set
from functools import partial
from typing import TYPE_CHECKING, Any

import jax

from vifx import training
from vifx.checks import ArgumentError
from vifx.core.nets import cast_floats
from vifx.core.objective import Objective
from vifx.core.types import Array, Aux, Batch, Key, Loss, Params, State
from vifx.evaluation.measure import both
from vifx.experiment.config import Config
from vifx.experiment.sample_quality import sample_quality

if TYPE_CHECKING:
    from vifx.experiment.file import Experiment

_double = partial(cast_floats, dtype="float64")


def configured(built: Experiment, config: Config) -> Experiment:
    """Return an experiment with patience, microbatches, sample quality and double precision, where its config asks.

    Raises:
      ValueError: if double precision is not enabled, the step has no loss to divide, or no metric marks the best
        checkpoint.
    """
    settings = vars(config)  # not noted as read
    if (evaluations := settings["patience"]) is not None:
        if built.best is None:
            sentence = "must be left out here: no metric of this experiment marks the best checkpoint"
            raise ArgumentError("patience", sentence, value=evaluations, owner=config)
        built = dataclasses.replace(built, stop=training.patience(built.best, evaluations=evaluations))
    if examples := settings["quality_examples"]:
        quality = sample_quality(built, config.data, examples)
        if quality is None and examples != type(config).quality_examples:
            sentence = f"of {examples} would change nothing: this experiment makes neither images nor rows"
            raise ArgumentError("quality_examples", sentence, value=examples, owner=config)
        built = dataclasses.replace(built, evaluate=both(quality, built.evaluate))
    if settings["precision"] == "float64":
        built = _in_double(built)
    parts = settings["microbatches"]
    if parts == 1:
        return built
    try:
        step = training.accumulated(built.step, parts)
    except ValueError as error:
        raise ArgumentError("microbatches", f"must be 1 here: {error}", value=parts, owner=config) from error
    return dataclasses.replace(built, step=step)


def require_read(config: Config, read: Set[str]) -> None:
    """Refuse a setting that the experiment does not read, and that would so change nothing.

    Args:
      config: of the experiment.
      read: the fields that were read when it was built.

    Raises:
      ValueError: if there is such a setting.
    """
    for name, plain in (("precision", ("float32", "float64")), ("remat", (False,))):
        value = vars(config)[name]
        if value not in plain and name not in read:
            sentence = f"of {value} would change nothing: no network of this experiment is made by config.net(...)"
            raise ArgumentError(name, sentence, value=value, owner=config)


def _in_double(built: Experiment) -> Experiment:
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("precision: float64 needs double precision to be enabled; build in jax.enable_x64(True)")
    objective = dataclasses.replace(built.objective, init=partial(_initialized, built.objective))
    step = built.step.rebuild(_on_doubles)
    return dataclasses.replace(built, objective=objective, step=step, source=_double_source(built.source))


def _initialized(objective: Objective, key: Key, batch: Batch) -> tuple[Params, State]:
    return _double(objective.init(key, _double(dict(batch))))


def _on_doubles(loss: Loss) -> Loss:
    """Return a loss of batches whose transforms have made single precision."""

    def double(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        return loss(key, params, state, _double(dict(batch)), train=train)

    return double


def _double_source(source: Any) -> Any:
    """Return a source with its resident arrays in double precision; what is streamed is cast where it is read."""
    if not hasattr(source, "arrays"):
        return source
    changed = copy.copy(source)
    changed.arrays = _double(dict(source.arrays))
    return changed
