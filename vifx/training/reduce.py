"""One metric out of many: how repeated updates and microbatches report."""

from __future__ import annotations

__all__ = ["mean_metrics"]

import jax.numpy as jnp

from vifx.types import Metrics


def mean_metrics(stacked: Metrics) -> Metrics:
    """Reduce metrics ``[updates]`` to scalars: floats to their mean, integers to their largest.

    Integers are counters and codes, such as ``"guard/skipped"``, whose mean says nothing.
    """
    return {
        name: jnp.mean(value, 0) if jnp.issubdtype(value.dtype, jnp.inexact) else jnp.max(value, 0)
        for name, value in stacked.items()
    }
