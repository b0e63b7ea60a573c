"""A model that EM has fitted, and what one asks of it."""

from __future__ import annotations

__all__ = ["Fit"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_key
from vifx.core.types import Array, Key, Params, State
from vifx.em.answers import likeliest_states, state_probabilities
from vifx.em.model import Data, Model
from vifx.em.sequences import for_data, steps_seen
from vifx.em.summary import Summary, named_estimates, summarized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Examples: TypeAlias = Data | Sequence[ArrayLike]
"""Data of a model; of sequences also a list of them, each ``[steps, *event]``, of several lengths."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Fit:
    """A fitted model.

    What it answers has the names of scikit-learn. Data are arrays ``[examples, *event]``, of sequences also of other
    lengths than those fitted, or a list of them ``[steps, *event]``; what is returned for each step is then a list as
    well. Numbers come out as NumPy arrays, in the precision of the parameters.

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

    @cached_property
    def estimates(self) -> Mapping[str, np.ndarray]:
        """The parameters as one reads them, in the units of the data: probabilities rather than logits, covariances.

        Of a Gaussian mixture ``weights``, ``means`` and ``covariances [components, d, d]``, or the tied ``covariance``,
        or ``variances``, ``[components, d]`` or, spherical, ``[components]``; of a chain of states
        ``initial`` and ``transitions``, row by row the probabilities of the next state; the rest is the family's.
        """
        return named_estimates(self.model, self.params)

    def predict(self, x: Examples) -> Any:
        """Return the likeliest component of each example, integers ``[examples]``.

        Of sequences it is the likeliest path, ``[sequences, T]``, which need not consist of the likeliest states of the
        single steps (Viterbi, 1967).

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted, or the latent is continuous.
        """
        model, data = self._for(x)
        return self._listed(x, likeliest_states(model, self.params, self.state, data))

    def predict_proba(self, x: Examples) -> Any:
        """Return ``q(z|x)``, ``[examples, components]``; of sequences that of each step, ``[sequences, T, states]``.

        It is the posterior of the model at temperature 1, whatever the one of its fit.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted, or the latent is continuous.
        """
        model, data = self._for(x)
        return self._listed(x, state_probabilities(model, self.params, self.state, data))

    def score_samples(self, x: Examples) -> np.ndarray:
        """Return ``log q(x)`` in nats, ``[examples]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return np.asarray(self.log_prob(x))

    def score(self, x: Examples) -> float:
        """Return the mean of ``log q(x)`` over the examples, in nats; one sequence is one example.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return float(np.mean(self.score_samples(x), dtype=np.float64))

    def bic(self, x: Examples | None = None) -> float:
        """Return ``degrees · log observations − 2 Σ log q(x)`` in nats; less is better (Schwarz, 1978).

        Args:
          x: other examples than those fitted. Of sequences, each step is an observation.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        observations, total = self._totals(x)
        return self.degrees * math.log(observations) - 2 * total

    def aic(self, x: Examples | None = None) -> float:
        """Return ``2 degrees − 2 Σ log q(x)`` in nats; less is better (Akaike, 1974).

        Args:
          x: other examples than those fitted.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return 2 * self.degrees - 2 * self._totals(x)[1]

    def log_prob(self, x: Examples) -> Array:
        """Return ``log q(x)`` in nats, ``[examples]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        model, data = self._for(x)
        return model.log_prob(self.params, self.state, data)

    def posterior(self, x: Examples) -> Any:
        """Return ``p(z|x)``; of a mixture, its `probs` are the responsibilities ``[examples, components]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        model, data = self._for(x)
        return model.posterior(self.params, self.state, data)

    def sample(self, key: Key, examples: int) -> Mapping[str, np.ndarray]:
        """Draw latents and data; values by variable, ``[examples, *event]``.

        Of sequences of several lengths, those drawn have that of the longest.

        Raises:
          TypeError: `key` is not a typed key, or `examples` not an integer.
          ValueError: `examples` is not positive, or the model has inputs, which nothing draws.
        """
        require_key(key)
        model = self.model
        if "inputs" in model.given:
            raise ValueError(f"sample: {model!r} is moved by inputs; give them to fit.model.generative.sample.")
        if model.given and model.variant is not None and model.steps is not None:
            model = model.variant(model.steps, ())
        drawn = model.sample(key, self.params, self.state, examples)
        return {name: np.asarray(value) for name, value in drawn.items()}

    def summary(self, names: Sequence[str] = ()) -> Summary:
        """Return what there is to know of the fit as tables: print it, or end a cell of a notebook with it.

        Args:
          names: of the features, by default x0, x1, ...

        Raises:
          ValueError: there is another number of features.
        """
        return summarized(self, names)

    def plot(self, x: Examples | None = None, *, image: tuple[int, ...] | None = None) -> Figure:
        """Draw the fit, see `vifx.evaluation.fit_figure`: needs matplotlib.

        Args:
          x: examples to draw with it, by default none.
          image: the shape of the pictures that examples are, ``(height, width)`` or with channels.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted, or are not pictures of this shape.
        """
        from vifx.evaluation.fits import fit_figure

        return fit_figure(self, x, image=image)

    def _totals(self, x: Examples | None) -> tuple[float, float]:
        """Return the number of observations and ``Σ log q(x)``."""
        if x is None:
            return self.observations, self.log_likelihood
        model, data = self._for(x)
        log_prob = np.asarray(model.log_prob(self.params, self.state, data), np.float64)
        return float(steps_seen(model, model.batch(data)).sum()), float(log_prob.sum())

    def _for(self, x: Examples) -> tuple[Model, Data]:
        """Return the model of sequences as long as these, or the one that there is, and data that it takes."""
        model, data = for_data(self.model, x)
        values = model.batch(data)[model.observed]
        places = model.latent_axes if model.variant is not None else 1
        if values.shape[places:] != self.event[places - 1 :]:
            axes = ("examples",) if places == 1 else ("sequences", "steps")
            expected = ", ".join(map(str, (*axes, *self.event[places - 1 :])))
            raise ValueError(f"x must have the shape [{expected}], as what was fitted, got {list(values.shape)}.")
        return model, data

    def _listed(self, x: Examples, each: np.ndarray) -> Any:
        """Return what there is for each step as a list, if `x` is a list of sequences."""
        if self.model.latent_axes == 2 and isinstance(x, list | tuple):
            return [row[: np.shape(sequence)[0]] for row, sequence in zip(each, x, strict=True)]
        return each
