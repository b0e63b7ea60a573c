"""A metric that never falls: EM's objective, watched at every update."""

from __future__ import annotations

__all__ = ["Rise", "rounding"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from vifx.checks import require_name
from vifx.core.types import Array
from vifx.training.errors import Diverged
from vifx.training.metrics import Row

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


class Rise:
    """Checks that a metric does not fall from one update to the next by more than rounding.

    A metric of the name ``"rounding/<metric>"``, as `training.solve` has it, says what rounding may do; without one it
    is that of a mean of single observations.

    Args:
      metric: its name; None checks nothing.
      history: the rows of the log so far. The last one is the mean of values that rose, so a bound on the next one.
    """

    def __init__(self, metric: str | None, history: Sequence[Row]) -> None:
        self._metric = metric
        self._last = float(history[-1].get(metric, -np.inf)) if metric is not None and history else -np.inf

    def check(self, metrics: Mapping[str, np.ndarray], begin: int, saved: Callable[[], str]) -> None:
        """Check the updates after update `begin`.

        Args:
          metrics: ``[updates]`` by name.
          begin: how many updates were made before.
          saved: says what can be gone on from.

        Raises:
          Diverged: if the metric fell by more than rounding.
          ValueError: if there is no such metric.
        """
        if self._metric is None:
            return
        values = metrics[require_name(self._metric, metrics, "metric for monotone")]
        errors = np.asarray(metrics.get(f"rounding/{self._metric}", rounding(values)), np.float64)
        for i, (value, allowed) in enumerate(zip(values.astype(np.float64), errors, strict=True)):
            fall = self._last - value
            if not fall <= allowed:
                sentence = (
                    f"{self._metric} fell by {fall:.3g} to {value:.7g}, by more than rounding ({allowed:.1g}), which "
                    "it never does if the update is right and has digits enough (raise the floor of variances, or use "
                    "float64)"
                )
                raise Diverged(begin + i + 1, sentence, saved())
            self._last = float(value)
