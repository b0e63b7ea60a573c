"""The divergence of two chains along one path of the first: closed forms of the steps, given the step before."""

from __future__ import annotations

__all__ = ["along_a_path"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Estimate, Key
from vifx.distributions.chain_steps import ChainSteps
from vifx.distributions.kl_estimates import closed_form


def along_a_path(one: Any, other: Any) -> Estimate | None:
    """Return an unbiased estimate of ``KL(p ‖ q)`` of two chains in nats, from one draw ``x ~ p`` for each member.

    ``KL(p(x_1) ‖ q(x_1)) + Σ_t KL(p(x_t | x_{t−1}) ‖ q(x_t | x_{t−1}))``: each step in closed form given what was drawn
    before it, so that its own noise is left out (Rao–Blackwell), and the variance is smaller than that of
    ``log p(x) − log q(x)``. Where the families of the first step have no closed form, its log-ratio stands in.
    Gradients pass through the draws; where draws have none, as of finite states, step t is weighted by
    ``exp(s − stop_gradient(s))``, s the log-density of what was drawn before it, of which the gradient is the score.

    Args:
      one: p, a chain.
      other: q, a chain of as many steps; its memory, times and parents are its own.

    Returns:
      The estimate; None if the families of the steps have no closed form, or one chain alone has lengths.

    Raises:
      ValueError: if the chains differ in steps or in the shape of values.
    """
    if tuple(one.event_shape) != tuple(other.event_shape):
        raise ValueError(
            f"a chain of events {list(one.event_shape)} is compared with one of {list(other.event_shape)}; make the "
            "two agree in steps and in the shape of values"
        )
    if (one.lengths is None) != (other.lengths is None):
        return None
    rows = one.examples or other.examples or 1
    first = closed_form(one.start, other.start)
    if one.steps > 1 and not _closed_steps(one, other, rows):
        return None
    if one.steps == 1:
        return None if first is None else Estimate(lambda _: _over_batch(one, other, first()), "closed form", False)

    def value(key: Key) -> Array:
        pathwise = one.has_rsample
        missing = () if one.examples is not None else (rows,)
        path = one.sample(key, missing)
        values = jnp.moveaxis(path, 1, 0)
        begun = one.start.log_prob(values[0])
        at_start = begun - other.start.log_prob(values[0]) if first is None else jnp.broadcast_to(first(), (rows,))
        ours, theirs = one.steps_for(values[0]), other.steps_for(values[0])
        each = _each_step(ours, theirs, values)
        if not pathwise:
            scores = jnp.concatenate([begun[None], ours.over_time(lambda law, x: law.log_prob(x), values)[:-1]])
            before = jnp.cumsum(scores, axis=0)
            each = each * jnp.exp(before - jax.lax.stop_gradient(before))
            if first is None:
                at_start = at_start * jnp.exp(begun - jax.lax.stop_gradient(begun))
        if one.lengths is not None:
            counted = jnp.arange(1, one.steps, dtype=one.lengths.dtype)[:, None] < one.lengths[None]
            same = jnp.where(one.lengths == other.lengths, 0.0, jnp.nan).astype(each.dtype)
            each = jnp.where(counted, each, 0)
            at_start = at_start + same
        total = at_start + jnp.sum(each, axis=0)
        return total if one.examples or other.examples else total[0]

    return Estimate(value, "closed form of each step along a drawn path", True)


def _closed_steps(one: Any, other: Any, rows: int) -> bool:
    """Return whether the laws of a step have a closed form, found out without computing anything."""
    found = []

    def trace(key: Key) -> None:
        path = one.sample(key, () if one.examples is not None else (rows,))
        laws = (each.steps_for(path[:, 0]).second(path[:, 0]) for each in (one, other))
        found.append(closed_form(*laws) is not None)

    jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)))
    return found[0]


def _each_step(ours: ChainSteps, theirs: ChainSteps, values: Array) -> Array:
    """Return the divergence of the laws of every step but the first, ``[steps − 1, rows]``."""
    (mine, own_axes), (other, axes) = ours.features(values), theirs.features(values)

    def divergence(mine: Any, key: Key | None, other: Any, noise: Key | None) -> Array:
        exactly = closed_form(ours.law(mine, key), theirs.law(other, noise))
        if exactly is None:
            raise ValueError(
                "the laws of a chain's steps have a closed form of their divergence at the second step and none later; "
                "let a transition return one family"
            )
        return jnp.broadcast_to(exactly(), (ours.rows,))

    return jax.vmap(divergence, in_axes=(own_axes, 0, axes, 0))(mine, ours.keys, other, theirs.keys)


def _over_batch(one: Any, other: Any, value: Array) -> Array:
    shape = () if one.examples is None and other.examples is None else (one.examples or other.examples,)
    return jnp.broadcast_to(value, shape)
