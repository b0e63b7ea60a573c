"""Categorical variables: mixture weights, tables of finite variables, and categorical data."""

from __future__ import annotations

__all__ = ["categorical"]

import math
from collections.abc import Sequence
from numbers import Real

import jax
import jax.numpy as jnp

from vifx.distributions import Categorical
from vifx.families.parents import count, index
from vifx.types import Array, Family, Key, PyTree


def categorical(classes: int, *, states: int | Sequence[int] = (), concentration: float = 1.0) -> Family:
    """One of `classes` values, free for every state of the parents: ``log q(v|s) = log π_sv``.

    Without parents it is the weights of a mixture; of a latent with parents, a conditional table; of data, a
    categorical emission. The M step is ``π_sv ∝ n_sv + α − 1`` with expected counts n.

    Args:
      classes: the number of values.
      states: the number of states of the parent, or of each parent; none for a variable without parents.
      concentration: α ≥ 1 of the Dirichlet prior of each row of π; 1 is maximum likelihood.

    Returns:
      A family with parameters ``{"logits": [states of the parents, classes]}``.

    Raises:
      ValueError: a number is not a positive integer, or `concentration` is below 1.
    """
    count("categorical", classes)
    sizes = count("categorical", states)
    rows = math.prod(sizes)
    if not isinstance(concentration, Real) or not concentration >= 1 or not math.isfinite(concentration):
        raise ValueError(f"categorical: concentration must be a finite number ≥ 1, got {concentration!r}.")
    pseudo = float(concentration) - 1

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del value, parents
        dtype = jnp.result_type(float)
        if not sizes:
            return {"logits": jnp.full((rows, classes), -math.log(classes), dtype)}, {}
        # Rows that are equal would stay equal for ever.
        draws = jax.random.dirichlet(key, jnp.full((classes,), 5.0, dtype), (rows,))
        return {"logits": jnp.log(draws)}, {}

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Categorical, PyTree]:
        del key, train
        at = index(sizes, parents)
        return Categorical(params["logits"][0] if at is None else params["logits"][at]), state

    def prepare(params: PyTree, state: PyTree) -> Array:
        del state
        return jax.nn.log_softmax(params["logits"]).T

    def features(state: PyTree, value: Array) -> Array:
        del state
        return _checked(value, classes)

    def log_probs(prepared: Array, value: Array) -> Array:
        if jnp.issubdtype(value.dtype, jnp.floating):
            # A weight of zero counts for nothing, where the class is impossible too.
            weights, each = jnp.broadcast_arrays(value[:, :, None], prepared[None])
            return jnp.sum(jnp.where(weights > 0, weights * each, 0), axis=1)
        return prepared[value]

    def statistics(prepared: Array, value: Array, responsibilities: Array) -> Array:
        weights = value if jnp.issubdtype(value.dtype, jnp.floating) else jax.nn.one_hot(value, classes)
        return responsibilities.T @ weights.astype(prepared.dtype)

    def maximize(params: PyTree, state: PyTree, counts: Array) -> PyTree:
        del state
        return {"logits": _log_shares(counts + pseudo, params["logits"])}

    def log_prior(params: PyTree, state: PyTree) -> Array:
        log_probs = prepare(params, state)
        return pseudo * jnp.sum(log_probs) if pseudo else jnp.zeros((), log_probs.dtype)

    def degrees(params: PyTree) -> int:
        del params
        return rows * (classes - 1)

    return Family(init, apply, features, prepare, log_probs, statistics, maximize, log_prior, degrees)


def _log_shares(counts: Array, otherwise: Array) -> Array:
    """Return the logarithms of shares of each row, those given for a row of zeros."""
    total = jnp.sum(counts, axis=1, keepdims=True)
    shares = jnp.log(counts) - jnp.log(jnp.where(total > 0, total, 1))
    return jnp.where(total > 0, shares, otherwise)


def _checked(value: Array, classes: int) -> Array:
    if jnp.issubdtype(value.dtype, jnp.integer) and value.ndim == 1:
        return value
    if jnp.issubdtype(value.dtype, jnp.floating) and value.ndim == 2 and value.shape[1] == classes:
        return value
    raise ValueError(
        f"categorical: values must be integers [examples] or weights [examples, {classes}], got {value.dtype}"
        f"{list(value.shape)}."
    )
