"""A model that EM has fitted, and what one asks of it."""

from __future__ import annotations

__all__ = ["Fit"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vifx.core.types import Array, Key, Params, State
from vifx.em.model import Data, Model


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Fit:
    """A fitted model.

    Attributes:
      model: what was fitted.
      params: of the best start, those whose objective is the last of `history`.
      state: the state that goes with them.
      history: the objective before each update and at the end, mean nats per example: ``log q(x)``, plus
        ``log prior / examples`` where parameters have priors.
      histories: of every start, ``[updates + 1, starts]``.
      converged: whether the last gain was below the tolerance.
      examples: how many, or the sum of their weights.
      observations: the same of a mixture; of sequences, how many steps they have in all.
      log_likelihood: ``Σ_n log q(x_n)`` in nats.
      degrees: how many free parameters the model has.
      seconds: of each update, the first with its compilation.
      messages: what a user should know: components that were empty or whose least variance is the floor, features
        that are constant, whether it converged.
      event: the shape of one example.
    """

    model: Model
    params: Params
    state: State
    history: np.ndarray
    histories: np.ndarray
    converged: bool
    examples: float
    observations: float
    log_likelihood: float
    degrees: int
    seconds: tuple[float, ...]
    messages: tuple[str, ...]
    event: tuple[int, ...]

    def __repr__(self) -> str:
        converged = "converged" if self.converged else "not converged"
        messages = f", messages: {len(self.messages)}" if self.messages else ""
        return (
            f"Fit({self.model.generative}: {self.log_likelihood / self.examples:.6g} nats per example of "
            f"{self.examples:g}, {converged} after {len(self.history) - 1} updates{messages})"
        )

    @property
    def bic(self) -> float:
        """``degrees · log observations − 2 Σ log q(x)`` in nats; less is better (Schwarz, 1978)."""
        return self.degrees * math.log(self.observations) - 2 * self.log_likelihood

    @property
    def aic(self) -> float:
        """``2 degrees − 2 Σ log q(x)`` in nats; less is better (Akaike, 1974)."""
        return 2 * self.degrees - 2 * self.log_likelihood

    def log_prob(self, x: Data) -> Array:
        """Return ``log q(x)`` in nats, ``[examples]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return self.model.log_prob(self.params, self.state, self._checked(x))

    def posterior(self, x: Data) -> Any:
        """Return ``p(z|x)``; of a mixture, its `probs` are the responsibilities ``[examples, components]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return self.model.posterior(self.params, self.state, self._checked(x))

    def sample(self, key: Key, examples: int) -> Mapping[str, Array]:
        """Draw latents and data; values by variable, ``[examples, *event]``."""
        return self.model.sample(key, self.params, self.state, examples)

    def _checked(self, x: Data) -> Data:
        values = self.model.batch(x)[self.model.observed]
        if values.shape[1:] != self.event:
            expected = ", ".join(map(str, ("examples", *self.event)))
            raise ValueError(f"x must have the shape [{expected}], as what was fitted, got {list(values.shape)}.")
        return x
