"""What a chunk of updates says: its mean metrics, or that training diverged."""

from __future__ import annotations

__all__ = ["chunk_row", "require_finite"]

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vifx.training.errors import Diverged
from vifx.training.guard import blame, sound, terms
from vifx.training.metrics import Row
from vifx.training.state import TrainState


def chunk_row(metrics: Mapping[str, np.ndarray], step: int) -> Row:
    """Reduce a chunk's metrics ``[updates]`` to a row: floats to their mean, integers to their largest.

    The mean is over the updates that were applied; NaN if none was. Metrics of several starts, ``[updates, starts]``,
    are in the row once for each start, and once for the start that is best at the end of the chunk.
    """
    applied = metrics["guard/first_bad"] < 0 if "guard/first_bad" in metrics else None
    row: dict[str, int | float] = {"step": step}
    for name in sorted(metrics):
        values = metrics[name]
        if name == "start":
            row[name] = int(values[-1])
        elif values.ndim == 1:
            row[name] = _reduced(values, applied)
        else:
            each = [_reduced(values[:, start], applied) for start in range(values.shape[1])]
            row[name] = each[int(metrics["start"][-1])]
            row |= {f"start/{start}/{name}": value for start, value in enumerate(each)}
    row.pop("guard/first_bad", None)
    return row


def _reduced(values: np.ndarray, applied: np.ndarray | None) -> int | float:
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        return int(values.max())
    kept = values if applied is None else values[np.broadcast_to(applied, values.shape)]
    if kept.size == 1:
        return float(kept[0])
    return float(kept.astype(np.float64).mean()) if kept.size else float("nan")


def require_finite(
    train_state: TrainState, metrics: Mapping[str, np.ndarray], row: Row, begin: int, skips: int
) -> None:
    """Check the updates after update `begin`.

    Args:
      metrics: by name, ``[updates]`` or ``[updates, starts]``.
      row: what `chunk_row` makes of them; where it is finite, so are they.
      skips: how many updates in a row a guarded step may skip.

    Raises:
      Diverged: if a metric or a parameter is not finite; of a guarded step, if `skips` updates in a row
        were skipped.
    """
    bad, sentence = np.zeros(1, bool), ""
    if "guard/consecutive" in metrics:
        bad = metrics["guard/consecutive"] >= skips
        sentence = f"{skips} updates in a row were skipped; "
    elif not all(map(math.isfinite, row.values())):
        finite = [np.isfinite(metrics[name].astype(np.float64)) for name in terms(metrics)]
        bad = ~np.all([each.reshape(len(each), -1).all(axis=1) for each in finite], axis=0)
    if bad.any():
        i = int(np.argmax(bad))
        values, start = {name: value[i] for name, value in metrics.items()}, 0
        if several := [values[name] for name in terms(values) if values[name].ndim]:
            start = int(np.argmin(np.all(np.isfinite(np.array(several, np.float64)), axis=0)))
            values = {name: value[start] if value.ndim else value for name, value in values.items()}
            sentence = f"{sentence}start {start}: "
        raise Diverged(begin + i + 1, sentence + blame(values), start=start)
    if not _sound(train_state.progress):
        raise Diverged(int(train_state.step), "a parameter is not finite, although every metric is")


_sound = jax.jit(sound)
