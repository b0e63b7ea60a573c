"""What a user should know of variances that are at their floor."""

from __future__ import annotations

__all__ = ["at_floor"]

import numpy as np


def at_floor(variances: np.ndarray, floor: float, value: np.ndarray) -> tuple[str, ...]:
    """Name the features that are constant, and the components that are at the floor in further directions.

    Args:
      variances: ``[states, directions]``, in squared units of the data.
      value: what was fitted, ``[examples, d]``.
    """
    constant = np.flatnonzero(np.all(value == value[:1], axis=0))
    sentences = [
        f"feature {i} is {value[0, i]:g} in all {len(value)} examples: its variance is the floor, {floor:g}"
        for i in constant
    ]
    # Rounded down by float32, a variance at the floor may be a little above or below it.
    low = np.sum(variances <= floor * (1 + 1e-3), axis=1)
    if len(found := np.flatnonzero(low > len(constant))):
        many = "s" if len(found) > 1 else ""
        sentences.append(
            f"component{many} {', '.join(map(str, found))}: the least variance is the floor, {floor:g}; "
            f"{'they' if many else 'it'} may have collapsed onto few examples (use fewer components or a larger floor)"
        )
    return tuple(sentences)
