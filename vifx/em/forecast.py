"""Models of sequences as time goes on: what is known up to each step, and what comes after the last one."""

from __future__ import annotations

__all__ = ["filtered", "forecast"]

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_array, require_integer, require_key
from vifx.core.factor import Factor
from vifx.core.types import Array, Batch, Key, Networks, Params, State
from vifx.distributions import GaussianChain, MarkovChain
from vifx.distributions.autoregressive_steps import AutoregressiveSteps
from vifx.distributions.small_matrices import added
from vifx.em.given import Given
from vifx.em.latent_chain import Filtered, LatentChain, latent_chain
from vifx.em.model import Data, Model, require_model


def filtered(model: Model, params: Params, state: State, x: Data) -> Filtered:
    """Return what is known of each step of the latent chain from the observations up to it.

    Where the posterior sees the whole sequence, this is what one knows at the time, by the forward algorithm or by the
    Kalman filter: ``current`` given x_1 … x_t, ``predicted`` given x_1 … x_{t−1}.

    Args:
      model: made by `hmm` or `lds`, or a `Model` of another chain.
      params: one entry per owner.
      state: one entry per owner.
      x: ``[sequences, T, *event]``, or all known variables by name.

    Raises:
      TypeError: `model` is not a model, or `x` not an array.
      ValueError: the model is not one of sequences, or `x` lacks an axis.

    References:
      Rabiner (1989), A tutorial on hidden Markov models; Kalman (1960).
    """
    _require_sequences(model, "filtered")
    return _filtered(model, params, state, model.batch(x))


def forecast(
    key: Key,
    model: Model,
    params: Params,
    state: State,
    x: Data,
    *,
    steps: int,
    samples: int = 100,
    latent: ArrayLike | None = None,
) -> Mapping[str, Array]:
    """Draw what comes after the last step of sequences: the states and the observations of the next steps.

    ``z_T ~ p(z_T | x_1 … x_T)``, then the chain and its emissions go on. Intervals are quantiles over the draws.

    Args:
      key: for all draws.
      model: made by `hmm` or `lds`, of transitions that do not change over time and that no inputs move.
      params: one entry per owner.
      state: one entry per owner.
      x: ``[sequences, T, *event]``, or all known variables by name; each sequence goes on from its own end.
      steps: how many steps come.
      samples: how many draws for each sequence.
      latent: the state that each sequence is in at its end, ``[sequences]`` or ``[sequences, D]``; by default it is
        drawn from what is known.

    Returns:
      The latent and the observed variable by name, ``[samples, sequences, steps, *event]``.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: the model is not one of sequences or has inputs, a number is out of range, or `latent` has another
        shape.
    """
    require_key(key)
    _require_sequences(model, "forecast")
    require_integer(steps, "forecast: steps")
    require_integer(samples, "forecast: samples")
    batch = model.batch(x)
    for item in model.generative.modelled:
        for name in item.given:
            if name in batch and jnp.issubdtype(batch[name].dtype, jnp.floating):
                raise ValueError(
                    f"forecast: {item} is moved by {name!r}, whose future is not known; give a longer sequence to the "
                    "posterior, with a mask that hides the observations to come."
                )
    if latent is not None:
        latent = _checked(model, latent, len(batch[model.observed]))
    return _forecast(model, steps, samples, key, params, state, batch, latent)


def _checked(model: Model, latent: ArrayLike, sequences: int) -> Array:
    """Return the given states, one for each sequence: integers of the components, or vectors."""
    array = np.asarray(require_array(latent, "forecast: latent"))
    if array.shape[:1] != (sequences,) or array.ndim != (2 if model.components is None else 1):
        event = "" if model.components is not None else ", D"
        raise ValueError(
            f"forecast: latent must have one state for each of the {sequences} sequences, [{sequences}{event}], got "
            f"shape {list(array.shape)}."
        )
    if model.components is not None and (
        not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= model.components
    ):
        raise ValueError(
            f"forecast: latent must be integers from 0 to {model.components - 1}, got {array.dtype} from "
            f"{array.min():g} to {array.max():g}."
        )
    return jnp.asarray(array)


def _require_sequences(model: Model, caller: str) -> None:
    if require_model(model, caller).latent_axes != 2:
        raise ValueError(f"{caller}: model must be one of sequences; make one with em.hmm(...) or em.lds(...).")


def _chain(model: Model, params: Params, state: State, batch: Batch) -> LatentChain:
    values = {name: batch[name] for name in (model.observed, *model.given)}
    given = Given(
        key=None,
        joint=model.generative,
        networks=Networks(params, state),
        values=values,
        examples=len(batch[model.observed]),
    )
    found = latent_chain(given)
    if found is None:
        raise ValueError(f"{model.generative!r} has no latent that is a chain of states or a Gaussian chain.")
    return found


@partial(jax.jit, static_argnums=0)
def _filtered(model: Model, params: Params, state: State, batch: Batch) -> Filtered:
    return _chain(model, params, state, batch).filtered()


@partial(jax.jit, static_argnums=(0, 1, 2))
def _forecast(
    model: Model,
    steps: int,
    samples: int,
    key: Key,
    params: Params,
    state: State,
    batch: Batch,
    latent: Array | None,
) -> dict[str, Array]:
    joint, seen = model.generative, batch[model.observed]
    prior = _alone(joint.factor_of(model.latent), params, state)
    ends = [batch[name] - 1 for name in model.given if batch[name].ndim == 1]
    last = ends[0] if ends else jnp.full(len(seen), seen.shape[1] - 1)
    current = None if latent is not None else _chain(model, params, state, batch).filtered().current
    chain = _continued(prior, current, last, latent, steps)
    draw, emit = jax.random.split(key)
    path = chain.sample(draw, (samples,))
    rows = path.reshape(-1, *path.shape[2:])
    emission = _alone(joint.factor_of(model.observed), params, state, rows)
    if isinstance(emission, AutoregressiveSteps):
        ends = seen[jnp.arange(len(seen)), last]
        emission = emission.after(jnp.tile(ends, (samples, 1)))
    drawn = emission.sample(emit)
    return {model.latent: path, model.observed: drawn.reshape(samples, len(seen), *drawn.shape[1:])}


def _alone(item: Factor, params: Params, state: State, *parents: Array) -> Any:
    """Return a factor's conditional without the known parents that only say what is observed."""
    own = () if item.owner is None else (params[item.owner], state.get(item.owner, {}))
    return item.conditional(None, *(own or ({}, {})), *parents, train=False)[0]


def _continued(prior: Any, current: Any, last: Array, latent: Array | None, steps: int) -> Any:
    """Return the chain of the next steps, one for each sequence."""
    rows = jnp.arange(len(last))
    if isinstance(prior, MarkovChain) and prior.transition_logits.ndim == 2:
        table = prior.transition_log_probs
        if latent is None:
            following = jnp.log(current.probs[rows, last] @ jnp.exp(table))
        else:
            following = table[latent.astype(jnp.int32)]
        return MarkovChain(following, table, steps, parallel=prior.parallel)
    if isinstance(prior, GaussianChain) and prior.transition.ndim == 2:
        transition, scale = prior.transition, prior.scale_tril
        if latent is None:
            mean, root = current.loc[rows, last], current.scale_tril[rows, last]
            scale = added(transition @ root, jnp.broadcast_to(scale, root.shape))
        else:
            if latent.shape[1] != len(transition):
                raise ValueError(
                    f"forecast: latent must have {len(transition)} numbers a state, got {latent.shape[1]}."
                )
            mean = latent.astype(transition.dtype)
        mean = mean @ transition.T + jnp.broadcast_to(prior.offset, mean.shape)
        return GaussianChain(mean, scale, transition, prior.offset, prior.scale_tril, steps)
    raise ValueError("forecast: the transitions of the chain change over time, so that those to come are not known.")
