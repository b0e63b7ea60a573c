"""What a chunk of updates says: its mean metrics, or that training diverged."""

from __future__ import annotations

__all__ = ["chunk_row", "require_finite"]

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vifx.training.errors import Diverged
from vifx.training.guard import blame, sound, terms
from vifx.training.metrics import Row
from vifx.training.state import TrainState


def chunk_row(metrics: Mapping[str, np.ndarray], step: int) -> Row:
    """Reduce a chunk's metrics ``[updates]`` to a row: floats to their mean, integers to their largest.

    The mean is over the updates that were applied; NaN if none was.
    """
    applied = metrics.get("guard/first_bad", np.full((), -1)) < 0
    row: dict[str, int | float] = {"step": step}
    for name in sorted(metrics):
        values = metrics[name]
        if not jnp.issubdtype(values.dtype, jnp.inexact):
            row[name] = int(values.max())
            continue
        kept = values.astype(np.float64)[np.broadcast_to(applied, values.shape)]
        row[name] = float(kept.mean()) if kept.size else float("nan")
    row.pop("guard/first_bad", None)
    return row


def require_finite(
    train_state: TrainState,
    metrics: Mapping[str, np.ndarray],
    begin: int,
    patience: int,
    saved: Callable[[], str],
) -> None:
    """Check the updates after update `begin`.

    Raises:
      Diverged: if a metric or a parameter is not finite; of a guarded step, if `patience`
        updates in a row were skipped.
    """
    if "guard/consecutive" in metrics:
        bad = metrics["guard/consecutive"] >= patience
        sentence = f"{patience} updates in a row were skipped; "
    else:
        finite = [np.isfinite(metrics[name].astype(np.float64)) for name in terms(metrics)]
        bad, sentence = ~np.all(finite, 0), ""
    if bad.any():
        i = int(np.argmax(bad))
        raise Diverged(begin + i + 1, sentence + blame({name: value[i] for name, value in metrics.items()}), saved())
    if not _sound(train_state.progress):
        sentence = "a parameter is not finite, although every metric is"
        raise Diverged(int(train_state.step), sentence, saved())


_sound = jax.jit(sound)
