"""Conditions of a reverse chain: dropped at random in training, and mixed for classifier-free guidance."""

from __future__ import annotations

__all__ = ["Conditions"]

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, Key


class Conditions(NamedTuple):
    """How the parents of a reverse chain count.

    Attributes:
      drop: the probability that an example's conditions are dropped in training.
      guidance: w of ``(1 + w) f(z, y) − w f(z)``.
      name: of the function that is given them, for its messages.
    """

    drop: float
    guidance: float
    name: str

    @classmethod
    def of(cls, drop: float, guidance: float, name: str) -> Conditions:
        """Check both numbers.

        Raises:
          ValueError: if one is out of range.
        """
        require_number(drop, f"{name}: drop", least=0, most=1)
        return cls(drop, require_number(guidance, f"{name}: guidance", least=-1), name)

    @property
    def tells(self) -> bool:
        """Whether the network is told which conditions count."""
        return self.drop > 0 or self.guidance != 0

    def everyone(self, given: tuple[Array, ...], rows: int) -> tuple[Array, ...]:
        """Return the last input of a network for its initialization: ones ``[rows, 1]``, if it is told.

        Raises:
          ValueError: if there are no conditions to be dropped or guided by.
        """
        self.require(given)
        return (jnp.ones((rows, 1)),) if self.tells else ()

    def require(self, given: tuple[Array, ...]) -> None:
        """Raise ValueError if there are no conditions to be dropped or guided by."""
        if given or not self.tells:
            return
        what = f"guidance={self.guidance:g}" if self.guidance else f"drop={self.drop:g}"
        raise ValueError(
            f"{self.name}: {what} needs conditions, but the factor has no parents; write 'z | y', or leave it out"
        )

    def run(self, key: Key | None, network: Callable[..., Array], rows: int, dtype: jnp.dtype, *, train: bool) -> Array:
        """Run a network, which is called with who counts, ``[rows, 1]``, or with nothing.

        Its outputs may be mixed themselves where what follows is affine in them, or logits.

        Raises:
          ValueError: if conditions are dropped without a key.
        """
        everyone = jnp.ones((rows, 1), dtype)
        if train and self.drop > 0:
            if key is None:
                raise ValueError(
                    f"{self.name}: conditions are dropped at random in training, which needs a key; pass key="
                )
            own = jax.random.fold_in(key, 1)
            output = network(jax.random.bernoulli(own, 1 - self.drop, everyone.shape).astype(dtype))
        else:
            output = network(everyone) if self.tells else network()
        if self.guidance != 0:
            output = (1 + self.guidance) * output - self.guidance * network(0 * everyone)
        return output
