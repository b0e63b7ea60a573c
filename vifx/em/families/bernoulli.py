"""Vectors of binary pixels with free probabilities for every state: Bernoulli mixtures."""

from __future__ import annotations

__all__ = ["bernoulli"]

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
from jax.typing import ArrayLike

from vifx.core.types import Array, Key, PyTree
from vifx.distributions import Bernoulli
from vifx.em.families.flattened import flat
from vifx.em.families.held import Held
from vifx.em.families.parent_states import by_state, count
from vifx.em.families.priors import Beta, floor_of_shares, require_prior
from vifx.em.families.seed_statistics import needs_values, seeded, softened
from vifx.em.families.valid_values import Features, fractions, if_concrete
from vifx.em.families.with_held import with_held
from vifx.em.family import Family


def bernoulli(
    states: int | Sequence[int],
    *,
    prior: Beta | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    floor: float = 1e-6,
) -> Family:
    """Independent binary pixels for every state s of the parents: ``log q(x|s) = Σ_i x_i ℓ_si − log(1 + e^ℓ_si)``.

    ``ℓ = log π/(1−π)`` are the logits. Pixels may be soft, in [0, 1], and of any event shape, such as images
    ``[height, width, 1]``. The M step is ``π = Σ r x / Σ r``, moved into ``[floor, 1 − floor]``: the maximum over that
    interval; with a `prior` of each π a posteriori. A state that nothing belongs to keeps its parameters; with a prior
    it has the prior's mode.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      prior: of each probability; None for maximum likelihood.
      fixed: ``{"logits": [states, *event]}``, if they are known and do not move.
      floor: the least probability of a zero and of a one. So a pixel that a state has never seen is worth
        ``log floor`` nats on held-out data, and no probability is 0 or 1; with a floor of 0 it is that of the
        smallest normal number, −87 nats in float32.

    Returns:
      A family with parameters ``{"logits": [states, *event]}``.

    Raises:
      ValueError: a number is out of range.
      TypeError: `prior` is not a `Beta`.

    References:
      Bishop (2006), Pattern Recognition and Machine Learning, section 9.3.3.
    """
    sizes = count("bernoulli", states)
    number = math.prod(sizes)
    known = require_prior(prior, Beta, "bernoulli") or Beta()
    ones, zeros = known.ones - 1, known.zeros - 1
    held = Held("bernoulli", fixed, {"logits": None})
    floor = floor_of_shares("bernoulli", floor, 2)
    check = partial(fractions, "bernoulli")

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        value = if_concrete(check, needs_values("bernoulli", value))
        x = flat("bernoulli", value)
        blank = jnp.zeros((number, *value.shape[1:]), x.dtype)
        sums = seeded(lambda x, r: r.T @ _pixels({}, x), x, softened(key, x, number))
        return maximize({"logits": blank}, {}, sums), {}

    def distribution(params: PyTree, at: Array | int) -> numpyro.Distribution:
        logits = _bounded(params["logits"])
        return Bernoulli(logits[at]).to_event(logits.ndim - 1)

    def prepare(params: PyTree, state: PyTree) -> Array:
        del state
        logits = _bounded(params["logits"]).reshape(number, -1)
        constant = -jnp.sum(jax.nn.softplus(logits), axis=1, keepdims=True)
        return jnp.concatenate([logits, constant], axis=1).T

    def maximize(params: PyTree, state: PyTree, statistics: Array) -> PyTree:
        del state
        return params if held else {"logits": _best_logits(statistics, ones, zeros, floor, params["logits"])}

    def log_prior(params: PyTree, state: PyTree) -> Array:
        del state
        logits = _bounded(params["logits"])
        if not (ones or zeros):
            return jnp.zeros((), logits.dtype)
        return jnp.sum(ones * jax.nn.log_sigmoid(logits) + zeros * jax.nn.log_sigmoid(-logits))

    family = Family(
        init=init,
        apply=by_state(sizes, distribution),
        features=Features(_pixels, check),
        prepare=prepare,
        maximize=maximize,
        log_prior=log_prior,
        degrees=lambda params: math.prod(params["logits"].shape),
        estimates=lambda params: {"probabilities": _probabilities(params["logits"])},
    )
    return with_held(family, held, lambda _, leaf: leaf.size)


def _pixels(state: PyTree, value: Array) -> Array:
    """Return pixels and a one, ``[examples, size + 1]``."""
    del state
    x = flat("bernoulli", value)
    return jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1)


def _probabilities(logits: Array) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(_bounded(logits), np.float64)))


def _bounded(logits: Array) -> Array:
    """Return logits that are finite, so that 0 log 0 = 0."""
    most = -math.log(jnp.finfo(logits.dtype).tiny)
    return jnp.clip(logits, -most, most)


def _best_logits(sums: Array, ones: float, zeros: float, floor: float, otherwise: Array) -> Array:
    total = sums[:, -1:]
    seen = sums[:, :-1] + ones
    # By rounding, a sum of ones may be above the count.
    unseen = jnp.maximum(total - sums[:, :-1], 0) + zeros
    known = total + ones + zeros > 10 * jnp.finfo(total.dtype).eps
    least = max(floor, float(jnp.finfo(total.dtype).tiny))
    most = math.log1p(-least) - math.log(least)
    logits = jnp.log(jnp.where(known, seen, 1)) - jnp.log(jnp.where(known, unseen, 1))
    found = jnp.where(known, jnp.clip(logits, -most, most), otherwise.reshape(logits.shape))
    return found.reshape(otherwise.shape)
