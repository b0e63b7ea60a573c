"""Noise of the parts of a bijection."""

from __future__ import annotations

__all__ = ["noise_of"]

import jax

from vifx.core.types import Key


def noise_of(key: Key | None, part: int) -> Key | None:
    """Return a part's own key, None where there is none."""
    return None if key is None else jax.random.fold_in(key, part)
