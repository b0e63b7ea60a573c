"""Hidden Markov models with emissions of any family."""

from __future__ import annotations

__all__ = ["hmm", "most_likely_path"]

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_integer
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.objective import Schedule
from vifx.core.types import Array, Batch, Params, State
from vifx.em import check_values, each_step, markov_chain
from vifx.em.families.family_names import Maker, family_maker
from vifx.em.families.priors import Dirichlet
from vifx.em.family import Family
from vifx.em.model import Data, Model, require_model


def hmm(
    make: Maker,
    states: int,
    *,
    length: int,
    given: tuple[str, ...] = (),
    chain_prior: Dirichlet | None = None,
    stickiness: float = 0.0,
    chain: Mapping[str, ArrayLike] | None = None,
    parallel: bool = False,
    temperature: float | Schedule = 1.0,
    **options: Any,
) -> Model:
    """A hidden Markov model ``q(x, z) = π(z_1) Π_t A(z_t, z_{t+1}) Π_t q(x_t|z_t)``, with its exact posterior.

    It is only the assembly of `markov_chain` and `each_step`; EM on it is the algorithm of Baum & Welch. Data are
    ``[sequences, length, *event]``. The posterior is a `MarkovChain`, with `marginals` ``[sequences, length, states]``;
    `most_likely_path` is its mode. Sequences of several lengths are a list, ``em.fit(key, model, [x_1, x_2, ...])``; or
    they are padded, and their lengths are a further variable that the model is ``given=("lengths",)``: data are then a
    mapping, ``{"x": x, "lengths": lengths}``.

    Args:
      make: the emissions' family by its name, such as ``"gaussian"``, or its constructor, which is called with
        ``states=states``.
      states: how many.
      length: the number of steps of every sequence, of the longest one.
      given: what is known beside x: nothing, or ``("lengths",)`` of the sequences, integers ``[sequences]``.
      chain_prior: of the initial distribution and of each row of the transitions; None for maximum likelihood.
      stickiness: counts that the prior adds to staying in a state.
      chain: parameters of the chain that are known, by name, as ``fixed`` of `markov_chain`.
      parallel: whether time is divided by an associative scan.
      temperature: of the posterior: above 1 annealed EM, 0 Viterbi training.
      **options: further options of the family, such as ``covariance="full"``, ``prior=`` or ``fixed=``.

    Raises:
      TypeError: `make` is not a constructor of a family, or an option is unknown or missing.
      ValueError: a number is out of range, or something else is given.

    References:
      Rabiner (1989), A tutorial on hidden Markov models.

    Example:
      >>> print(hmm("gaussian", 3, length=50, covariance="diagonal").generative)
      chain(z) · emissions(x | z)
    """
    own = family_maker(make, options, "hmm")
    require_integer(states, "hmm: states")
    family = own(states=states, **options)

    @lru_cache(maxsize=32)  # one model for all sequences of a length, and so one compiled program
    def assembled(length: int, given: tuple[str, ...]) -> Model:
        if given not in ((), ("lengths",)):
            raise ValueError(f"hmm: given must be () or ('lengths',), got {given!r}.")
        if given and family.sequences:
            raise ValueError("hmm: emissions that depend on the step before need sequences of one length.")
        prior = markov_chain(
            states, length=length, prior=chain_prior, stickiness=stickiness, fixed=chain, parallel=parallel
        )
        ends = ", lengths" if given else ""
        generative = Joint(
            *([evidence(*given)] if given else []),
            factor("z | lengths" if given else "z", prior, name="chain"),
            factor(f"x | z{ends}", each_step(family), name="emissions"),
        )
        return Model.of(
            generative,
            states,
            check=partial(_check, family, length),
            temperature=temperature,
            latent_axes=2,
            steps=length,
            variant=assembled,
        )

    return assembled(length, tuple(given))


def _check(family: Family, length: int, x: np.ndarray) -> None:
    if x.ndim < 2 or x.shape[1] != length:
        raise ValueError(
            f"hmm: x must be sequences [sequences, {length}, ...], got shape {list(x.shape)}; one sequence alone is "
            "x[None]."
        )
    check_values(family, x if family.sequences else x.reshape(-1, *x.shape[2:]))


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
