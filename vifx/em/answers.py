"""What the posterior of a model says of examples: the likeliest states, and the probabilities of all."""

from __future__ import annotations

__all__ = ["likeliest_states", "state_probabilities"]

from functools import partial

import jax
import numpy as np

from vifx.core.types import Array, Batch, Params, State
from vifx.em.model import Data, Model
from vifx.em.posterior import exact_posterior


def state_probabilities(model: Model, params: Params, state: State, x: Data, *, chunk: int = 4096) -> np.ndarray:
    """Return ``q(z | x)``, whatever the temperature of the model's own posterior.

    Args:
      model: of a finite latent.
      params: one entry per owner.
      state: one entry per owner.
      x: ``[examples, *event]``.
      chunk: how many examples at a time.

    Returns:
      ``[examples, components]``; of sequences, of each step, ``[examples, T, components]``.

    Raises:
      ValueError: the latent is continuous.
    """
    _require_states(model, "predict_proba")
    return np.asarray(_posterior(model, False, chunk, params, state, model.batch(x)))


def likeliest_states(model: Model, params: Params, state: State, x: Data, *, chunk: int = 4096) -> np.ndarray:
    """Return ``argmax_z q(z | x)``, integers ``[examples]``; of sequences the likeliest path, ``[examples, T]``.

    Args:
      model: of a finite latent.
      params: one entry per owner.
      state: one entry per owner.
      x: ``[examples, *event]``.
      chunk: how many examples at a time.

    Raises:
      ValueError: the latent is continuous.
    """
    _require_states(model, "predict")
    return np.asarray(_posterior(model, True, chunk, params, state, model.batch(x)))


def _require_states(model: Model, caller: str) -> None:
    if model.components is None:
        raise ValueError(
            f"{caller}: the latent of {model!r} is continuous, so that there is none to choose; posterior(x) has the "
            "means and covariances of its steps."
        )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _posterior(model: Model, best: bool, chunk: int, params: Params, state: State, batch: Batch) -> Array:
    known = (model.observed, *model.given)
    posterior = exact_posterior(model.generative, f"{model.latent} | {', '.join(known)}")

    def one(example: Batch) -> Array:
        key = jax.random.key(0)  # nothing is drawn
        values = [example[name][None] for name in known]
        found, _ = posterior.conditional(key, params, state, *values, train=False)
        if model.latent_axes == 2:
            return (found.most_likely() if best else found.marginals)[0]
        return found.probs[0].argmax() if best else found.probs[0]

    return jax.lax.map(one, dict(batch), batch_size=chunk)
