"""A density that is known up to a constant."""

from __future__ import annotations

__all__ = ["Unnormalized"]

from collections.abc import Callable
from typing import NamedTuple

from vifx.core.types import Array


class Unnormalized(NamedTuple):
    """A density that is known up to a constant: ``log q(z) = log_density(z) − log Z`` with Z unknown.

    It cannot be sampled, and its `log_prob` is the logarithm of the unnormalized density, ``log q(z) + log Z``.

    Attributes:
      log_density: ``[examples, *event] -> [examples]``, in nats up to the constant.
    """

    log_density: Callable[[Array], Array]

    def log_prob(self, value: Array) -> Array:
        """Return ``log q(z) + log Z`` in nats, ``[examples]``."""
        return self.log_density(value)
