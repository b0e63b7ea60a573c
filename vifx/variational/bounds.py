"""Importance-weighted bounds: the value over draws or all tuples of states, and its gradient estimators."""

from __future__ import annotations

__all__ = ["Gradient", "bound", "walk_latents"]

import itertools
import math
from dataclasses import replace
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp

from vifx.core.conditional import condition, density, fold
from vifx.core.examples import example_mean
from vifx.core.types import Array, Batch, Key, Networks
from vifx.variational.pair import Pair
from vifx.variational.walk import Rows, Visit, is_finite, log_density, walk

Gradient: TypeAlias = Literal["reparameterized", "sticking_the_landing", "doubly_reparameterized"]

MOST_MULTISETS = 20_000
"""The most multisets of latent states that an exact bound enumerates; with more, the latents are drawn."""


def bound(
    key: Key, both: Pair, networks: Networks, batch: Batch, *, samples: int, gradient: Gradient
) -> tuple[Array, dict[str, Array], Networks]:
    """Return the K-sample bound on log q(x), in nats, the mean over the batch; its metrics; the new state.

    Args:
      gradient: the gradient estimator; the value does not depend on it.

    Raises:
      ValueError: a gradient estimator that needs reparameterized draws where there are none.
    """
    noise = fold(key, "inference")
    visits, walked = walk_latents(noise, both, networks, batch, samples=samples)
    latents = [visit for visit in visits if visit.how != "evidence"]
    if gradient != "reparameterized":
        _require_draws(latents, gradient)
    rows = visits[-1].after
    log_q, new = _generative_log_prob(key, both, walked, rows)
    log_p = jnp.zeros(rows.total)
    for visit in latents:
        if visit.log_prob is not None:
            # Rows are copied copy by copy, so an earlier latent's log-densities repeat as a block.
            log_p = log_p + jnp.tile(visit.log_prob, rows.total // visit.after.total)
    if latents and latents[0].how == "summed":
        shape = (-1, rows.examples)
        each = _over_multisets((log_q - log_p).reshape(shape), log_p.reshape(shape), samples)
        value, elbo = (example_mean(rows.shares, part) for part in each)
        return value, {"iwae": jax.lax.stop_gradient(value), "elbo": elbo}, new

    shape = (rows.copies, rows.examples)
    log_weight = (log_q - log_p).reshape(shape)
    value = logsumexp(log_weight, axis=0) - jnp.log(rows.copies)
    share = jax.lax.stop_gradient(jax.nn.softmax(log_weight, axis=0))
    metrics = {
        "elbo": example_mean(rows.shares, jax.lax.stop_gradient(jnp.mean(log_weight, axis=0))),
        "effective_samples": example_mean(rows.shares, 1 / jnp.sum(share**2, axis=0)),
    }
    if gradient != "reparameterized":
        # Without the score: the encoder's parameters act through the draws alone.
        fixed = jax.lax.stop_gradient(networks.params)
        log_p = _path_log_prob(noise, latents, networks._replace(params=fixed))
        if gradient == "sticking_the_landing":
            surrogate = share * (log_q - log_p).reshape(shape)
        else:
            through_draws, _ = _generative_log_prob(key, both, walked._replace(params=fixed), rows)
            drawn = replace(rows, values=jax.lax.stop_gradient(rows.values))
            through_model, _ = _generative_log_prob(key, both, walked, drawn)
            surrogate = share**2 * (through_draws - log_p).reshape(shape) + share * through_model.reshape(shape)
        surrogate = jnp.sum(surrogate, axis=0)
        value = jax.lax.stop_gradient(value) + surrogate - jax.lax.stop_gradient(surrogate)
    if rows.weights is not None:
        # One score factor per draw: their product carries the score of the whole tuple.
        value = value * jnp.prod(rows.weights.reshape(shape), axis=0)
    total = example_mean(rows.shares, value)
    sampled = "_sampled" if any(is_finite(visit.conditional) for visit in latents) else ""
    return total, {f"iwae{sampled}": jax.lax.stop_gradient(total), **metrics}, new


def walk_latents(
    key: Key, both: Pair, networks: Networks, batch: Batch, *, samples: int
) -> tuple[list[Visit], Networks]:
    """Walk the inference joint with `samples` draws of its latents.

    If all of them are of finite support they are summed, exactly, as long as there are at most `MOST_MULTISETS`
    multisets of `samples` states; otherwise all are drawn.
    """
    settings = {"samples": samples, "examples": both.examples}
    visits, walked = walk(key, both.inference, networks, batch, sums="all", **settings)
    rows = visits[-1].after
    states = rows.total // (rows.copies * rows.examples)
    if math.comb(states + samples - 1, samples) <= MOST_MULTISETS:  # drawn latents have one state
        return visits, walked
    return walk(key, both.inference, networks, batch, sums="none", **settings)


def _require_draws(latents: list[Visit], gradient: Gradient) -> None:
    for visit in latents:
        if visit.how != "drawn":
            why = "of finite support" if visit.how == "summed" else "not reparameterizable"
            raise ValueError(
                f"importance_weighted: gradient={gradient!r} needs reparameterized draws, but {visit.factor} is {why}; "
                "use gradient='reparameterized'."
            )


def _generative_log_prob(key: Key, both: Pair, networks: Networks, rows: Rows) -> tuple[Array, Networks]:
    """Return ``log q(x, z)`` without evidence, ``[rows]`` in nats, and the networks in their new state."""
    total = jnp.zeros(rows.total)
    for item in both.generative.modelled:
        log_prob, networks = log_density(fold(key, "generative", item.name), item, networks, rows)
        total = total + log_prob
    return total, networks


def _path_log_prob(key: Key, latents: list[Visit], fixed: Networks) -> Array:
    """Σ log p(z|·) with the parameters held fixed: its gradient flows through the draws alone."""
    total = jnp.zeros(())
    for visit in latents:
        item, rows = visit.factor, visit.before
        conditional, fixed = condition(fold(key, item.name, "network"), item, fixed, rows.values, rows.total)
        total = total + density(item, conditional, visit.after.values[item.variables[0]], rows.total)
    return total


def _over_multisets(log_weight: Array, log_p: Array, samples: int) -> tuple[Array, Array]:
    """``E log (1/K) Σ_k w_k`` over K independent draws of a finite latent, exactly.

    Args:
      log_weight: ``[states, examples]``.
      log_p: ``[states, examples]``.

    Returns:
      The bound and the ELBO, ``[examples]``.
    """
    # A state that is never drawn has no weight: its tuples count for nothing, in value and gradient.
    log_weight = jnp.where(log_p > -jnp.inf, log_weight, 0)
    states = log_weight.shape[0]
    index = np.array(list(itertools.combinations_with_replacement(range(states), samples)))
    counts = np.stack([np.sum(index == s, axis=1) for s in range(states)], axis=1)
    dtype = log_weight.dtype
    log_ways = gammaln(jnp.asarray(samples + 1, dtype)) - jnp.sum(gammaln(jnp.asarray(counts + 1, dtype)), axis=1)
    probability = jnp.exp(log_ways[:, None] + jnp.sum(log_p[index], axis=1))
    value = logsumexp(log_weight[index], axis=1) - jnp.log(samples)
    bound = jnp.sum(jnp.where(probability > 0, probability * value, 0), axis=0)
    return bound, jnp.sum(jnp.exp(log_p) * log_weight, axis=0)
