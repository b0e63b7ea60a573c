"""A metric that never falls: EM's objective, watched at every update."""

from __future__ import annotations

__all__ = ["Monotone", "rounding"]

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from vifx.checks import require_name
from vifx.core.types import Array
from vifx.training.errors import Diverged
from vifx.training.metrics import Row, of_starts

Number = TypeVar("Number", Array, np.ndarray, np.float32)


def rounding(value: Number, *, observations: Number | float = 1.0, cancelled: Number | float = 0.0) -> Number:
    """Return by how much a mean of log-densities in nats may fall by rounding alone.

    ``ε (4500 (observations + |value|/100) + cancelled)``, ε of the dtype of the value: 1e-12 in float64 and 5e-4 in
    float32 for each observation of an example and each 100 nats, and the rounding of larger terms that cancel.

    Args:
      value: the mean over the examples, in the dtype in which it was computed.
      observations: of one example: 1, of a sequence the number of its steps.
      cancelled: the absolute values of the terms of the sum, in nats, the mean over the examples.
    """
    error: Any = float(np.finfo(value.dtype).eps) * (4500 * (observations + abs(value) / 100) + cancelled)
    return error


class Monotone:
    """Checks that a metric does not fall from one update to the next by more than rounding.

    A metric of the name ``"rounding/<metric>"``, as `training.solve` has it, says what rounding may do; without one it
    is that of a mean of single observations. Where ``"anew/<metric>"`` is not zero, the value is not compared with the
    one before.

    Args:
      metric: its name.
      history: the rows of the log so far. The last one is the mean of values that rose, so a bound on the next one.
    """

    def __init__(self, metric: str, history: Sequence[Row]) -> None:
        self._metric = metric
        self._last = np.array(of_starts(history[-1], metric) if history else [], np.float64)

    def check(self, metrics: Mapping[str, np.ndarray], begin: int) -> None:
        """Check the updates after update `begin`.

        Args:
          metrics: by name, ``[updates]`` or, of several starts, ``[updates, starts]``.

        Raises:
          Diverged: if the metric fell by more than rounding.
          ValueError: if there is no such metric.
        """
        found = metrics[require_name(self._metric, metrics, "metric for monotone")]
        values = found.astype(np.float64).reshape(len(found), -1)
        rounded = np.asarray(metrics.get(f"rounding/{self._metric}", rounding(found)), np.float64)
        last = self._last if self._last.size else np.full(values.shape[1], -np.inf)
        falls = np.concatenate([last[None], values[:-1]]) - values
        bad = ~(falls <= rounded.reshape(values.shape))
        if f"anew/{self._metric}" in metrics:
            bad &= metrics[f"anew/{self._metric}"].reshape(values.shape) == 0
        if bad.any():
            update, start = map(int, np.argwhere(bad)[0])
            allowed = rounded.reshape(values.shape)[update, start]
            raise Diverged(
                begin + update + 1,
                f"{f'start {start}: ' if found.ndim > 1 else ''}{self._metric} fell by {falls[update, start]:.3g} to "
                f"{values[update, start]:.7g}, by more than rounding ({allowed:.1g}), which it never does if the "
                "update is right and has digits enough (raise the floor of variances, or use float64)",
                start=start,
            )
        self._last = values[-1]
