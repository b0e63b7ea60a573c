"""Vectors of counts with free rates for every state: Poisson mixtures."""

from __future__ import annotations

__all__ = ["poisson"]

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from vifx.checks import require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import Poisson
from vifx.em.families.flattened import flat
from vifx.em.families.held import Held
from vifx.em.families.parent_states import by_state, count
from vifx.em.families.priors import Gamma, require_prior
from vifx.em.families.seed_statistics import needs_values, seeded, softened
from vifx.em.families.valid_values import Features, counts, if_concrete
from vifx.em.families.with_held import with_held
from vifx.em.family import Family


def poisson(
    states: int | Sequence[int],
    *,
    prior: Gamma | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    floor: float = 1e-6,
) -> Family:
    """Independent counts for every state s of the parents: ``log q(x|s) = Σ_i x_i log λ_si − λ_si − log x_i!``.

    The M step is ``λ = Σ r x / Σ r``, at least `floor`: the maximum over ``λ ≥ floor``; with a `prior` of each λ a
    posteriori. A state that nothing belongs to keeps its parameters; with a prior of a positive rate it has its mode.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      prior: of each rate; None for maximum likelihood.
      fixed: ``{"log_rate": [states, *event]}``, if they are known and do not move.
      floor: the least rate, above 0: so a count that a state has never seen is possible on held-out data, at
        ``log floor`` nats.

    Returns:
      A family with parameters ``{"log_rate": [states, *event]}``.

    Raises:
      ValueError: a number is out of range.
      TypeError: `prior` is not a `Gamma`.

    References:
      McLachlan & Peel (2000), Finite Mixture Models.
    """
    sizes = count("poisson", states)
    number = math.prod(sizes)
    known = require_prior(prior, Gamma, "poisson") or Gamma()
    more, examples = known.shape - 1, known.rate
    held = Held("poisson", fixed, {"log_rate": None})
    least = math.log(require_number(floor, "poisson: floor", least=1e-30))
    check = partial(counts, "poisson")

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        value = if_concrete(check, needs_values("poisson", value))
        x = flat("poisson", value)
        blank = jnp.zeros((number, *value.shape[1:]), x.dtype)
        # Square roots of counts have one variance, whatever their rates.
        responsibilities = softened(key, jnp.sqrt(x), number)
        sums = seeded(lambda x, r: r.T @ _counts({}, x)[0], x, responsibilities)
        return maximize({"log_rate": blank}, {}, sums), {}

    def distribution(params: PyTree, at: Array | int) -> numpyro.Distribution:
        return Poisson(params["log_rate"][at]).to_event(params["log_rate"].ndim - 1)

    def prepare(params: PyTree, state: PyTree) -> Array:
        del state
        return _natural(params["log_rate"].reshape(number, -1)).T

    def maximize(params: PyTree, state: PyTree, statistics: Array) -> PyTree:
        del state
        if held:
            return params
        found = _best_log_rates(statistics[:, :-1] + more, statistics[:, -1:] + examples, params["log_rate"])
        return {"log_rate": jnp.maximum(found, least)}

    def log_prior(params: PyTree, state: PyTree) -> Array:
        del state
        log_rate = params["log_rate"]
        if not (more or examples):
            return jnp.zeros((), log_rate.dtype)
        return jnp.sum(more * log_rate - examples * jnp.exp(log_rate))

    family = Family(
        init=init,
        apply=by_state(sizes, distribution),
        features=Features(_counts, check),
        prepare=prepare,
        maximize=maximize,
        log_prior=log_prior,
        degrees=lambda params: math.prod(params["log_rate"].shape),
        estimates=lambda params: {"rates": np.exp(np.asarray(params["log_rate"], np.float64))},
    )
    return with_held(family, held, lambda _, leaf: leaf.size)


def _natural(log_rate: Array) -> Array:
    """Return what counts and a one are multiplied by, ``[states, size + 1]``."""
    constant = -jnp.sum(jnp.exp(log_rate), axis=1, keepdims=True)
    # A rate of zero: 0 log 0 = 0.
    return jnp.concatenate([jnp.maximum(log_rate, jnp.finfo(log_rate.dtype).min / 2**40), constant], axis=1)


def _counts(state: PyTree, value: Array) -> tuple[Array, Array]:
    """Return counts and a one, ``[examples, size + 1]``, and ``−Σ log x!``."""
    del state
    x = flat("poisson", value)
    ones = jnp.ones((x.shape[0], 1), x.dtype)
    return jnp.concatenate([x, ones], axis=1), -jnp.sum(gammaln(x + 1), axis=1)


def _best_log_rates(sums: Array, total: Array, otherwise: Array) -> Array:
    known = total > 10 * jnp.finfo(total.dtype).eps
    log_rate = jnp.log(sums) - jnp.log(jnp.where(known, total, 1))
    return jnp.where(known, log_rate, otherwise.reshape(log_rate.shape)).reshape(otherwise.shape)
