"""Sequences of several lengths as one array: lists of them, and the model that takes them."""

from __future__ import annotations

__all__ = ["for_data", "steps_seen"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vifx.checks import require_array
from vifx.em.model import Data, Model

LENGTHS = "lengths"


def for_data(model: Model, x: Any, *, longest: int | None = None) -> tuple[Model, Data]:
    """Return data as one array of sequences, and the model of sequences of that length.

    A list becomes an array that is as long as its longest sequence, with the lengths as a further variable; if all
    have one length, it is that array alone. The parameters of a chain do not depend on the length, so a model of other
    sequences takes them as they are.

    Args:
      model: of sequences; any other model and its data are returned as they are.
      x: an array, a mapping of the known variables, or a list of arrays ``[steps, *event]``.
      longest: how many steps a sequence may have; any number by default.

    Raises:
      TypeError: a sequence is not an array.
      ValueError: sequences of other events, one without steps or of too many, or a list where more is to be known.
    """
    if model.latent_axes != 2:
        return model, x
    given = model.given
    if isinstance(x, list | tuple):
        x = _padded(model, x, longest)
        given = (LENGTHS,) if isinstance(x, Mapping) else ()
    elif given == (LENGTHS,) and not isinstance(x, Mapping):
        array = np.asarray(require_array(x, model.observed))
        x = {model.observed: array, LENGTHS: np.full(len(array), _shape(array)[1] if len(_shape(array)) > 1 else 0)}
    shape = _shape(x.get(model.observed) if isinstance(x, Mapping) else x)
    wanted = (longest or (shape[1] if len(shape) > 1 else model.steps or 1), given)
    if wanted == (model.steps, model.given) or (model.variant is None and given == model.given):
        return model, x
    if model.variant is None:
        raise ValueError(f"{model!r}: there is no such model of sequences of several lengths; give padded arrays.")
    return model.variant(*wanted), x


def steps_seen(model: Model, batch: Mapping[str, Any]) -> np.ndarray:
    """Return how many observations each example has, ``[examples]``: of a mixture 1, of a sequence its steps."""
    values = np.asarray(batch[model.observed])
    if model.latent_axes == 1:
        return np.ones(len(values))
    examples, steps = _shape(values)[:2]
    seen = np.ones((examples, steps), bool)
    if LENGTHS in model.given:
        seen &= np.arange(steps)[None] < np.asarray(batch[LENGTHS])[:, None]
    if "mask" in model.given:
        mask = np.asarray(batch["mask"])
        seen &= mask.any(axis=-1) if mask.ndim == 3 else mask
    return seen.sum(axis=1).astype(float)


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(np.shape(x))


def _padded(model: Model, x: Sequence[Any], longest: int | None) -> Data:
    if set(model.given) - {LENGTHS} or not x:
        known = ", ".join((model.observed, *model.given))
        raise ValueError(
            f"{model!r}: a list must have one or more sequences, and no more may be known than they are; got a list of "
            f"{len(x)}, but data are {known}: give a mapping of padded arrays."
        )
    rows = [np.asarray(require_array(row, f"{model.observed}[{i}]")) for i, row in enumerate(x)]
    steps = [len(row) for row in rows]
    other = [i for i, row in enumerate(rows) if row.shape[1:] != rows[0].shape[1:] or not len(row)]
    if other:
        raise ValueError(
            f"{model.observed} must be sequences [steps, {', '.join(map(str, rows[0].shape[1:]))}] of one or more "
            f"steps, as the first one is, got shape {list(rows[other[0]].shape)} for sequence {other[0]}."
        )
    most = max(steps) if longest is None else longest
    if max(steps) > most:
        at = int(np.argmax(steps))
        raise ValueError(
            f"{model.observed}: sequence {at} has {steps[at]} steps, but the model is one of at most {most}; make it "
            f"with length={max(steps)}."
        )
    if set(steps) == {most} and not model.given:
        return np.stack(rows)
    padded = np.zeros((len(rows), most, *rows[0].shape[1:]), np.result_type(*rows))
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
        row[len(values) :] = values[-1]  # a value that a family takes
    return {model.observed: padded, LENGTHS: np.asarray(steps, np.int32)}
