"""Multinomial distributions with free probabilities for every state: mixtures of unigrams."""

from __future__ import annotations

__all__ = ["multinomial"]

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from vifx.checks import require_integer, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import Multinomial
from vifx.em.families.held import Held
from vifx.em.families.parent_states import by_state, count
from vifx.em.families.priors import Dirichlet, floor_of_shares, log_dirichlet, require_prior, with_prior
from vifx.em.families.seed_statistics import needs_values, seeded, softened
from vifx.em.families.valid_values import Features, counts, if_concrete
from vifx.em.families.with_held import with_held
from vifx.em.families.zero_probabilities import best_shares, expected_log_probs, normalized, probabilities
from vifx.em.family import Family


def multinomial(
    states: int | Sequence[int],
    *,
    prior: Dirichlet | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    floor: float = 1e-6,
    trials: int | None = None,
) -> Family:
    """Vectors of counts for every state s of the parents, such as of the words of a text, given their sum n.

    ``log q(x|s) = log n! − Σ_v log x_v! + Σ_v x_v log π_sv``. The M step is ``π_sv ∝ Σ r x_v`` over
    ``π ≥ floor``; with a `prior` of each π_s it is the maximum a posteriori. Without a prior, a state that nothing
    belongs to keeps its parameters.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      prior: of the probabilities of each state; None for maximum likelihood.
      fixed: ``{"logits": [states, values]}``, if they are known and do not move.
      floor: the least probability, so that a value that a state has never seen has a finite ``log q`` on
        held-out data; 0 makes it −∞.
      trials: n of samples; the density takes any.

    Returns:
      A family with parameters ``{"logits": [states, values]}``.

    Raises:
      ValueError: a number is out of range.
      TypeError: `prior` is not a `Dirichlet`.

    References:
      Nigam, McCallum, Thrun & Mitchell (2000), Text classification from labeled and unlabeled documents using EM.
    """
    sizes = count("multinomial", states)
    number = math.prod(sizes)
    own = require_prior(prior, Dirichlet, "multinomial")
    held = Held("multinomial", fixed, {"logits": (number, None)})
    floor = require_number(floor, "multinomial: floor", least=0)
    if trials is not None:
        require_integer(trials, "multinomial: trials")

    def of(state: PyTree, value: Array) -> tuple[Array, Array]:
        del state
        x = _vectors(value)
        return x, gammaln(jnp.sum(x, axis=1) + 1) - jnp.sum(gammaln(x + 1), axis=1)

    features = Features(of, partial(counts, "multinomial"))

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        x = _vectors(if_concrete(features.check, needs_values("multinomial", value)))
        blank = jnp.full((number, x.shape[1]), -math.log(x.shape[1]), x.dtype)
        floor_of_shares("multinomial", floor, x.shape[1])
        sums = seeded(lambda x, r: r.T @ x, x, softened(key, _hellinger(x), number))
        return maximize({"logits": blank}, {}, sums), {}

    def prepare(params: PyTree, state: PyTree) -> Array:
        del state
        return normalized(params["logits"]).T

    def maximize(params: PyTree, state: PyTree, statistics: Array) -> PyTree:
        del state
        if held:
            return params
        return {"logits": best_shares(with_prior(own, statistics, "multinomial"), floor, params["logits"])}

    def log_prior(params: PyTree, state: PyTree) -> Array:
        return log_dirichlet(own, prepare(params, state).T, "multinomial")

    family = Family(
        init=init,
        apply=by_state(sizes, lambda params, at: Multinomial(params["logits"][at], trials=trials)),
        features=features,
        prepare=prepare,
        log_probs=_log_probs,
        maximize=maximize,
        log_prior=log_prior,
        degrees=lambda params: number * (params["logits"].shape[-1] - 1),
        estimates=lambda params: {"probabilities": probabilities(params["logits"])},
    )
    return with_held(family, held, lambda _, leaf: leaf.size - len(leaf))


def _log_probs(prepared: Array, features: tuple[Array, Array]) -> Array:
    found = expected_log_probs(features[0], prepared)
    return found + jnp.broadcast_to(features[1][:, None], found.shape)


def _hellinger(x: Array) -> Array:
    """Return square roots of shares, whose distances are those of Hellinger."""
    return jnp.sqrt(x / jnp.maximum(jnp.sum(x, axis=1, keepdims=True), 1))


def _vectors(value: Array) -> Array:
    if value.ndim != 2:
        raise ValueError(f"multinomial: values must be counts [examples, values], got shape {list(value.shape)}.")
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))
