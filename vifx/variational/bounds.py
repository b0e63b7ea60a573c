"""Importance-weighted bounds: the value over draws or all tuples of states, and its gradient estimators."""

from __future__ import annotations

__all__ = ["Gradient", "Weighting", "bound", "log_power_mean", "walk_latents"]

import itertools
import math
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp

from vifx.core.conditional import condition, density, fold
from vifx.core.examples import example_mean
from vifx.core.types import Array, Batch, Key, Networks
from vifx.variational.pair import Pair
from vifx.variational.walk import Rows, Visit, is_finite, log_density, walk

Gradient: TypeAlias = Literal["reparameterized", "sticking_the_landing", "doubly_reparameterized", "vimco"]

MOST_MULTISETS = 20_000
"""The most multisets of latent states that an exact bound enumerates; with more, the latents are drawn."""


class Weighting(NamedTuple):
    """Which bound it is: ``(1/M) Σ_m log ((1/K) Σ_k w_mk^(1−α))^(1/(1−α))``.

    Attributes:
      samples: K, draws of each inner mean.
      outer: M, how many of these are averaged.
      alpha: α, 0 for the mean of the weights and 1 for that of their logarithms.
      gradient: the gradient estimator; the value does not depend on it.
    """

    samples: int
    outer: int = 1
    alpha: float = 0.0
    gradient: Gradient = "reparameterized"


def bound(
    key: Key, both: Pair, networks: Networks, batch: Batch, how: Weighting, *, name: str
) -> tuple[Array, dict[str, Array], Networks]:
    """Return the bound on log q(x), in nats, the mean over the batch; its metrics; the new state.

    Args:
      name: of the bound among the metrics.

    Raises:
      ValueError: a gradient estimator that needs reparameterized draws where there are none.
    """
    noise = fold(key, "inference")
    visits, walked = walk_latents(noise, both, networks, batch, how)
    latents = [visit for visit in visits if visit.how != "evidence"]
    if how.gradient in ("sticking_the_landing", "doubly_reparameterized"):
        _require_draws(latents, how.gradient)
    rows = visits[-1].after
    if how.gradient == "vimco":  # no gradient goes through a draw
        rows = replace(rows, values=jax.lax.stop_gradient(rows.values), weights=None)
    log_q, new = _generative_log_prob(key, both, walked, rows)
    log_p = jnp.zeros(rows.total)
    if how.gradient == "vimco":
        log_p = _log_prob_of(noise, latents, networks, stopped=True) + log_p
    for visit in latents:
        if visit.log_prob is not None and how.gradient != "vimco":
            # Rows are copied copy by copy, so an earlier latent's log-densities repeat as a block.
            log_p = log_p + jnp.tile(visit.log_prob, rows.total // visit.after.total)
    if latents and latents[0].how == "summed":
        shape = (-1, rows.examples)
        each = _over_multisets((log_q - log_p).reshape(shape), log_p.reshape(shape), how)
        value, elbo = (example_mean(rows.shares, part) for part in each)
        return value, {name: jax.lax.stop_gradient(value), "elbo": elbo}, new

    shape = (rows.copies // how.samples, how.samples, rows.examples) if latents else (1, 1, rows.examples)
    log_weight = (log_q - log_p).reshape(shape)
    value = log_power_mean(log_weight, how.alpha, axis=1)
    weight_share = jax.lax.stop_gradient(jax.nn.softmax(log_weight, axis=1))
    effective = jnp.mean(1 / jnp.sum(weight_share**2, axis=1), axis=0)
    metrics = {
        "elbo": example_mean(rows.shares, jax.lax.stop_gradient(jnp.mean(log_weight, axis=(0, 1)))),
        "effective_samples": example_mean(rows.shares, effective),
    }
    surrogate = _surrogate(key, both, (networks, walked), latents, rows, log_weight, log_q, log_p, how)
    if surrogate is not None:
        value = jax.lax.stop_gradient(value) + surrogate - jax.lax.stop_gradient(surrogate)
    if rows.weights is not None:
        # One score factor per draw: their product carries the score of the whole tuple.
        value = value * jnp.prod(rows.weights.reshape(shape), axis=1)
    total = example_mean(rows.shares, jnp.mean(value, axis=0))
    sampled = "_sampled" if any(is_finite(visit.conditional) for visit in latents) else ""
    return total, {f"{name}{sampled}": jax.lax.stop_gradient(total), **metrics}, new


def _surrogate(
    key: Key,
    both: Pair,
    before_and_after: tuple[Networks, Networks],
    latents: list[Visit],
    rows: Rows,
    log_weight: Array,
    log_q: Array,
    log_p: Array,
    how: Weighting,
) -> Array | None:
    """Return what has the gradient of the estimator, ``[outer, examples]``; None if the value itself does."""
    if how.gradient == "reparameterized" or not latents:
        return None
    shape, alpha, noise = log_weight.shape, how.alpha, fold(key, "inference")
    share = jax.lax.stop_gradient(jax.nn.softmax((1 - alpha) * log_weight, axis=1))
    if how.gradient == "vimco":
        learned = jax.lax.stop_gradient(_learning_signal(log_weight, alpha))
        return jnp.sum(share * log_weight + learned * log_p.reshape(shape), axis=1)
    # Without the score: the encoder's parameters act through the draws alone.
    networks, walked = before_and_after
    fixed = jax.lax.stop_gradient(networks.params)
    path = _log_prob_of(noise, latents, networks._replace(params=fixed))
    if how.gradient == "sticking_the_landing":
        return jnp.sum(share * (log_q - path).reshape(shape), axis=1)
    through_draws, _ = _generative_log_prob(key, both, walked._replace(params=fixed), rows)
    drawn = replace(rows, values=jax.lax.stop_gradient(rows.values))
    through_model, _ = _generative_log_prob(key, both, walked, drawn)
    twice = alpha * share + (1 - alpha) * share**2
    return jnp.sum(twice * (through_draws - path).reshape(shape) + share * through_model.reshape(shape), axis=1)


def log_power_mean(log_weight: Array, alpha: float, *, axis: int) -> Array:
    """Return ``log ((1/K) Σ_k w_k^(1−α))^(1/(1−α))`` along an axis: of α = 1 the mean of log w, the limit."""
    count = log_weight.shape[axis]
    if alpha == 1:
        return jnp.mean(log_weight, axis=axis)
    if alpha == 0:
        return logsumexp(log_weight, axis=axis) - math.log(count)
    # The largest term is taken out, and what is left is near 1 as α goes to 1: no digits are lost there.
    power = (1 - alpha) * log_weight
    largest = jax.lax.stop_gradient(jnp.max(power, axis=axis, keepdims=True))
    rest = jnp.log1p(jnp.mean(jnp.expm1(power - largest), axis=axis))
    return (jnp.squeeze(largest, axis) + rest) / (1 - alpha)


def _learning_signal(log_weight: Array, alpha: float) -> Array:
    """Return the bound minus the bound with the k-th log-weight replaced by the mean of the others', of each k."""
    count = log_weight.shape[1]
    others = (jnp.sum(log_weight, axis=1, keepdims=True) - log_weight) / (count - 1)

    def replaced(k: Array) -> Array:
        own = (jnp.arange(count) == k)[None, :, None]
        return log_power_mean(jnp.where(own, others, log_weight), alpha, axis=1)

    return log_power_mean(log_weight, alpha, axis=1)[:, None] - jax.vmap(replaced, out_axes=1)(jnp.arange(count))


def walk_latents(
    key: Key, both: Pair, networks: Networks, batch: Batch, how: Weighting
) -> tuple[list[Visit], Networks]:
    """Walk the inference joint with all draws of its latents.

    If all of them are of finite support they are summed, exactly, as long as there are at most `MOST_MULTISETS`
    multisets of K states, and the gradient estimator is not one of draws; otherwise all are drawn.
    """
    settings = {"samples": how.samples * how.outer, "examples": both.examples}
    if how.gradient == "vimco":
        return walk(key, both.inference, networks, batch, sums="none", **settings)
    visits, walked = walk(key, both.inference, networks, batch, sums="all", **settings)
    rows = visits[-1].after
    states = rows.total // (rows.copies * rows.examples)
    if math.comb(states + how.samples - 1, how.samples) <= MOST_MULTISETS:  # drawn latents have one state
        return visits, walked
    return walk(key, both.inference, networks, batch, sums="none", **settings)


def _require_draws(latents: list[Visit], gradient: Gradient) -> None:
    for visit in latents:
        if visit.how != "drawn":
            why = "of finite support" if visit.how == "summed" else "not reparameterizable"
            raise ValueError(
                f"importance_weighted: gradient={gradient!r} needs reparameterized draws, but {visit.factor} is {why}; "
                "use gradient='reparameterized' or gradient='vimco'."
            )


def _generative_log_prob(key: Key, both: Pair, networks: Networks, rows: Rows) -> tuple[Array, Networks]:
    """Return ``log q(x, z)`` without evidence, ``[rows]`` in nats, and the networks in their new state."""
    total = jnp.zeros(rows.total)
    for item in both.generative.modelled:
        log_prob, networks = log_density(fold(key, "generative", item.name), item, networks, rows)
        total = total + log_prob
    return total, networks


def _log_prob_of(key: Key, latents: list[Visit], networks: Networks, *, stopped: bool = False) -> Array:
    """Σ log p(z|·) of the draws: its gradient flows through them, or if they are `stopped` through parameters alone."""
    total = jnp.zeros(())
    for visit in latents:
        item, rows = visit.factor, visit.before
        before, after = rows.values, visit.after.values
        if stopped:
            before, after = jax.lax.stop_gradient((before, after))
        conditional, networks = condition(fold(key, item.name, "network"), item, networks, before, rows.total)
        total = total + density(item, conditional, after[item.variables[0]], rows.total)
    return total


def _over_multisets(log_weight: Array, log_p: Array, how: Weighting) -> tuple[Array, Array]:
    """The expectation of the bound over K independent draws of a finite latent, exactly.

    Args:
      log_weight: ``[states, examples]``.
      log_p: ``[states, examples]``.

    Returns:
      The bound and the ELBO, ``[examples]``.
    """
    samples = how.samples
    # A state that is never drawn has no weight: its tuples count for nothing, in value and gradient.
    log_weight = jnp.where(log_p > -jnp.inf, log_weight, 0)
    states = log_weight.shape[0]
    index = np.array(list(itertools.combinations_with_replacement(range(states), samples)))
    counts = np.stack([np.sum(index == s, axis=1) for s in range(states)], axis=1)
    dtype = log_weight.dtype
    log_ways = gammaln(jnp.asarray(samples + 1, dtype)) - jnp.sum(gammaln(jnp.asarray(counts + 1, dtype)), axis=1)
    probability = jnp.exp(log_ways[:, None] + jnp.sum(log_p[index], axis=1))
    value = log_power_mean(log_weight[index], how.alpha, axis=1)
    bound = jnp.sum(jnp.where(probability > 0, probability * value, 0), axis=0)
    return bound, jnp.sum(jnp.exp(log_p) * log_weight, axis=0)
