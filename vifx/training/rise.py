"""A metric that never falls: EM's objective, watched at every update."""

from __future__ import annotations

__all__ = ["Rise", "rounding"]

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from vifx.training.metrics import Row
from vifx.training.names import known
from vifx.training.report import Diverged


def rounding(value: float, dtype: DTypeLike) -> float:
    """Return by how much a mean in nats may fall by rounding alone: 1e-12 in float64, 5e-4 in float32, below 100 nats.

    Args:
      value: the mean.
      dtype: in which it was computed.
    """
    return 4500 * float(jnp.finfo(dtype).eps) * max(1.0, abs(value) / 100)


class Rise:
    """Checks that a metric does not fall from one update to the next.

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
        values = metrics[known(self._metric, metrics, "metric for monotone")]
        for i, value in enumerate(values.astype(np.float64)):
            fall, allowed = self._last - value, rounding(float(value), values.dtype)
            if fall > allowed:
                sentence = (
                    f"{self._metric} fell by {fall:.3g} to {value:.7g}, by more than rounding ({allowed:.1g}), which "
                    "it never does if the update is right and has digits enough (raise the floor of variances, or use "
                    "float64)"
                )
                raise Diverged(begin + i + 1, sentence, saved())
            self._last = float(value)
