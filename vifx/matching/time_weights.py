"""Weights of the times that a velocity is matched at."""

from __future__ import annotations

__all__ = ["TimeWeights", "logit_normal"]

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array


class TimeWeights(NamedTuple):
    """A density w of times in [0, 1], by which the squared errors are weighted; `logit_normal` makes one.

    Times are drawn from it, so that no error is multiplied by a large number.

    Attributes:
      label: its name and its settings.
      quantile: from ranks in [0, 1) to times, elementwise.
    """

    label: str
    quantile: Callable[[Array], Array]


def logit_normal(*, mean: float = 0.0, scale: float = 1.0) -> TimeWeights:
    """Weights that are large in the middle: ``log t/(1 − t) ~ N(mean, scale²)``.

    Args:
      mean: of the logit; above 0 for more weight near the base, below for more near the data.
      scale: its standard deviation, positive.

    Raises:
      ValueError: `mean` is not finite, or `scale` not positive.

    Reference: Esser et al. (2024), Scaling rectified flow transformers for high-resolution image synthesis,
    arXiv:2403.03206.

    Example:
      >>> import jax.numpy as jnp
      >>> print(logit_normal(mean=0.0).quantile(jnp.array(0.5)))
      0.5
    """
    require_number(mean, "logit_normal: mean")
    require_number(scale, "logit_normal: scale", above=0)

    def quantile(rank: Array) -> Array:
        tiny = jnp.finfo(rank.dtype).eps
        return jax.nn.sigmoid(mean + scale * jax.scipy.special.ndtri(jnp.clip(rank, tiny, 1 - tiny)))

    return TimeWeights(f"logit_normal(mean={mean:g}, scale={scale:g})", quantile)
