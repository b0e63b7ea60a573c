"""Categorical variables: mixture weights, tables of finite variables, and categorical data."""

from __future__ import annotations

__all__ = ["categorical"]

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro
from jax.typing import ArrayLike

from vifx.core.types import Array, Key, PyTree
from vifx.distributions import Categorical
from vifx.em.families.held import Held
from vifx.em.families.parent_states import by_state, count
from vifx.em.families.priors import Dirichlet, floor_of_shares, log_dirichlet, require_dirichlet, with_prior
from vifx.em.families.seed_statistics import seeded, softened
from vifx.em.families.valid_values import Features, categories, if_concrete
from vifx.em.families.with_held import with_held
from vifx.em.families.zero_probabilities import best_shares, expected_log_probs, normalized, probabilities
from vifx.em.family import Family


def categorical(
    classes: int,
    *,
    states: int | Sequence[int] = (),
    prior: Dirichlet | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    floor: float = 0.0,
) -> Family:
    """One of `classes` values, free for every state of the parents: ``log q(v|s) = log π_sv``.

    Without parents it is the weights of a mixture; of a latent with parents, a conditional table; of data, a
    categorical emission, or of vectors of D variables the product ``log q(v|s) = Σ_i log π_siv_i`` (latent class
    analysis). The M step is ``π_sv ∝ n_sv`` with expected counts n, with a `prior` ``n_sv + α_v − 1``. A class that a
    state has never seen has probability zero, and ``log q = −∞`` on held-out data, unless `floor` is positive or the
    concentration of a prior above 1.

    Args:
      classes: the number of values; of vectors, the largest of any variable.
      states: the number of states of the parent, or of each parent; none for a variable without parents.
      prior: of each row of π; None for maximum likelihood.
      fixed: ``{"logits": ...}`` in the shape of the parameters, if they are known and do not move; −10³⁰ for a class
        that is impossible.
      floor: the least probability; the M step is the maximum over ``π ≥ floor``.

    Returns:
      A family with parameters ``{"logits": [states of the parents, classes]}``, of vectors ``[states, D, classes]``.
      Values are integers ``[examples]`` or ``[examples, D]``, or floating weights with one more axis, of classes.

    Raises:
      ValueError: a number is below 1, or `floor` is out of range.
      TypeError: `prior` is not a `Dirichlet`.

    References:
      Lazarsfeld & Henry (1968), Latent Structure Analysis.
    """
    count("categorical", classes)
    sizes = count("categorical", states)
    rows = math.prod(sizes)
    own = require_dirichlet(prior, classes, "categorical")
    held = Held("categorical", fixed, {"logits": None})
    floor = floor_of_shares("categorical", floor, classes)
    check = partial(categories, "categorical", classes=classes)
    features = Features(lambda _, value: _weights(value, classes), check)

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        if value is not None and _variables(if_concrete(check, value), classes):
            return maximize(*_seeded(key, value, rows, classes)), {}
        return {"logits": _table(key, rows, classes) if sizes else jnp.full((rows, classes), -math.log(classes))}, {}

    def distribution(params: PyTree, at: Array | int) -> numpyro.Distribution:
        each = Categorical(params["logits"][at])
        return each if params["logits"].ndim == 2 else each.to_event(1)

    def prepare(params: PyTree, state: PyTree) -> Array:
        del state
        return normalized(params["logits"]).reshape(rows, -1).T

    def statistics(prepared: Array, value: Array, responsibilities: Array) -> Array:
        weights = value if _floating(value) else jax.nn.one_hot(value, classes)
        return responsibilities.T @ weights.astype(prepared.dtype)

    def maximize(params: PyTree, state: PyTree, counts: Array) -> PyTree:
        del state
        if held:
            return params
        logits = params["logits"]
        return {"logits": best_shares(with_prior(own, counts.reshape(logits.shape), "categorical"), floor, logits)}

    def log_prior(params: PyTree, state: PyTree) -> Array:
        del state
        return log_dirichlet(own, normalized(params["logits"]), "categorical")

    family = Family(
        init=init,
        apply=by_state(sizes, distribution),
        features=features,
        prepare=prepare,
        log_probs=_log_probs,
        statistics=statistics,
        maximize=maximize,
        log_prior=log_prior,
        degrees=lambda params: math.prod(params["logits"].shape[:-1]) * (classes - 1),
        estimates=lambda params: {"probabilities": probabilities(params["logits"])},
    )
    return with_held(family, held, lambda _, leaf: leaf.size - leaf.size // classes)


def _table(key: Key, rows: int, classes: int) -> Array:
    """Return the logits that a table starts from: rows that are equal would stay equal for ever."""
    return jnp.log(jax.random.dirichlet(key, jnp.full((classes,), 5.0), (rows,)))


def _seeded(key: Key, value: Array, rows: int, classes: int) -> tuple[PyTree, PyTree, Array]:
    """Return what an M step takes to start from vectors: uniform parameters, a state and counts near seeds."""
    weights = _weights(value, classes)
    blank = jnp.full((rows, _variables(value, classes), classes), -math.log(classes), weights.dtype)
    return {"logits": blank}, {}, seeded(lambda x, r: r.T @ x, weights, softened(key, weights, rows))


def _log_probs(prepared: Array, value: Array) -> Array:
    return expected_log_probs(value, prepared) if _floating(value) else prepared[value]


def _floating(value: Array) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating)


def _variables(value: Array, classes: int) -> int:
    """Return the number of variables of vectors; 0 of values that are not vectors."""
    plain = 2 if _floating(value) else 1
    if not (_floating(value) or jnp.issubdtype(value.dtype, jnp.integer)) or value.ndim not in (plain, plain + 1):
        raise ValueError(
            f"categorical: values must be integers [examples] or [examples, variables], or weights with one more axis "
            f"[{classes}], got {value.dtype}{list(value.shape)}."
        )
    if _floating(value) and value.shape[-1] != classes:
        raise ValueError(
            f"categorical: weights must have a last axis of {classes} classes, got {value.dtype}{list(value.shape)}; "
            "give integers for plain classes."
        )
    return 0 if value.ndim == plain else value.shape[1]


def _weights(value: Array, classes: int) -> Array:
    """Return integers or weights of classes as they are, vectors of them as weights ``[examples, D · classes]``."""
    if not _variables(value, classes):
        return value
    weights = value if _floating(value) else jax.nn.one_hot(value, classes, dtype=jnp.result_type(float))
    return weights.reshape(weights.shape[0], -1)
