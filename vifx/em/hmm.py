"""Hidden Markov models with emissions of any family."""

from __future__ import annotations

__all__ = ["hmm", "most_likely_path"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_function
from vifx.core.factor import factor
from vifx.core.joint import Joint
from vifx.core.objective import Schedule
from vifx.core.types import Array, Batch, Params, State
from vifx.em import check_values, each_step, markov_chain
from vifx.em.family import Family
from vifx.em.model import Data, Model, require_model


def hmm(
    make: Callable[..., Family],
    states: int,
    *,
    length: int,
    concentration: float = 1.0,
    stickiness: float = 0.0,
    chain: Mapping[str, ArrayLike] | None = None,
    parallel: bool = False,
    temperature: float | Schedule = 1.0,
    **options: Any,
) -> Model:
    """A hidden Markov model ``q(x, z) = π(z_1) Π_t A(z_t, z_{t+1}) Π_t q(x_t|z_t)``, with its exact posterior.

    It is only the assembly of `markov_chain` and `each_step`; EM on it is the algorithm of Baum & Welch. Data are
    ``[sequences, length, *event]``. The posterior is a `MarkovChain`, with `marginals` ``[sequences, length, states]``;
    `most_likely_path` is its mode. Sequences of several lengths are padded, their lengths a further variable::

        generative = Joint(evidence("lengths"), factor("z | lengths", markov_chain(3, length=50), name="chain"),
                           factor("x | z, lengths", each_step(gaussian(3)), name="emissions"))
        inference = Joint(evidence("x", "lengths"), exact_posterior(generative, "z | x, lengths"))

    Args:
      make: the constructor of the emissions' family, such as `em.gaussian`; called with ``states=states``.
      states: how many.
      length: the number of steps of every sequence.
      concentration: of the Dirichlet priors of the initial distribution and of the rows of the transitions.
      stickiness: counts that the prior adds to staying in a state.
      chain: parameters of the chain that are known, by name, as ``fixed`` of `markov_chain`.
      parallel: whether time is divided by an associative scan.
      temperature: of the posterior: above 1 annealed EM, 0 Viterbi training.
      **options: further options of the family, such as ``covariance="full"``.

    Raises:
      TypeError: `make` is not a constructor of a family.
      ValueError: a number is out of range.

    References:
      Rabiner (1989), A tutorial on hidden Markov models.

    Example:
      >>> from vifx import em
      >>> print(hmm(em.gaussian, 3, length=50, covariance="diagonal").generative)
      chain(z) · emissions(x | z)
    """
    require_function(make, "hmm: make", "that makes a family, such as em.gaussian")
    prior = markov_chain(
        states, length=length, concentration=concentration, stickiness=stickiness, fixed=chain, parallel=parallel
    )
    family = make(states=states, **options)
    generative = Joint(factor("z", prior, name="chain"), factor("x | z", each_step(family), name="emissions"))

    def check(x: np.ndarray) -> None:
        if x.ndim < 2 or x.shape[1] != length:
            raise ValueError(
                f"hmm: x must be sequences [sequences, {length}, ...], got shape {list(x.shape)}; one sequence alone "
                "is x[None]."
            )
        check_values(family, x if family.sequences else x.reshape(-1, *x.shape[2:]))

    return Model.of(generative, states, check=check, temperature=temperature, latent_axes=2)


def most_likely_path(model: Model, params: Params, state: State, x: Data) -> Array:
    """Return ``argmax_z p(z|x)``, the likeliest sequence of states, integers ``[sequences, length]``.

    Args:
      model: made by `hmm`.
      params: one entry per owner.
      state: one entry per owner.
      x: ``[sequences, length, *event]``.

    Raises:
      TypeError: `model` is not a model, or `x` not an array.
      ValueError: the model is not of sequences, or `x` lacks an axis.

    References:
      Viterbi (1967), Error bounds for convolutional codes.
    """
    if require_model(model, "most_likely_path").latent_axes != 2:
        raise ValueError("most_likely_path: model must be a hidden Markov model; make one with em.hmm(...).")
    return _path(model, params, state, model.batch(x))


@partial(jax.jit, static_argnums=0)
def _path(model: Model, params: Params, state: State, batch: Batch) -> Array:
    return model.posterior(params, state, model.data(batch)).most_likely()
