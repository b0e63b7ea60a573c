"""One metric out of many: how repeated updates and microbatches report."""

from __future__ import annotations

__all__ = ["mean_metrics"]

import jax.numpy as jnp

from vifx.core.examples import example_mean
from vifx.core.types import Array, Metrics


def mean_metrics(stacked: Metrics, shares: Array | None = None) -> Metrics:
    """Reduce metrics ``[updates]`` to scalars: floats to their mean, integers to their largest.

    Args:
      shares: how much each update counts in the mean, ``[updates]``; all alike by default.

    Integers are counters and codes, such as ``"guard/skipped"``, whose mean says nothing.
    """
    return {
        name: example_mean(shares, value) if jnp.issubdtype(value.dtype, jnp.inexact) else jnp.max(value, 0)
        for name, value in stacked.items()
    }
