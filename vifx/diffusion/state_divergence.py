"""KL(forward ‖ reverse) of the chains of categorical data: exact at each step, summed over steps by one of them.

A reverse step is Bayes' rule with x̂(z_t, t) as the law of the data, ``q(z_s | z_t) = Σ_x x̂(x) p(z_s, z_t | x) / Σ_x
x̂(x) p(z_t | x)``. The factor ``p(z_t | z_s)`` and so the path cancel, and of every element is left

    E log P_s(z_s)/P̂_s(z_s) − log P_t(z_t)/P̂_t(z_t),    P_t(y) = α_t 1[y = x] + (1 − α_t) π(y),

the expectation under the bridge ``p(z_s | z_t, x)``, P̂ the same with x̂(y) for the indicator. With a mask that is
``(α_s − α_t)/(1 − α_t) · (−log x̂(x))`` at a masked element and 0 elsewhere, and ``−α′ dt/(1 − α) · (−log x̂(x))`` in
continuous time. Of uniform noise it is there, with c = −α′/(α K) and ``ρ(y) = P_t(y)/P_t(z_t)``, the divergence of two
rates of jumps: ``c dt Σ_y [ρ log(ρ/ρ̂) − ρ + ρ̂]`` over the other states y.
"""

from __future__ import annotations

__all__ = ["States", "state_divergence"]

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, Estimate, Key, Parts
from vifx.diffusion.corruption import Corruption
from vifx.diffusion.noise_schedule import beside
from vifx.diffusion.step_divergence import how_summed, require_alike
from vifx.diffusion.step_times import TimeDraws
from vifx.distributions.markov_chain import all_sequences

States: TypeAlias = Literal["drawn", "all"]
"""How the expectation over z_t is taken: by one draw, or as the sum over all states, which is for tiny spaces."""


class _Place(NamedTuple):
    """Where a path is looked at, ``[rows]`` each: α there, how much of it is lost in the step, and α before it.

    In continuous time that is −dα/dt, and there is nothing before it.
    """

    alpha: Array
    lost: Array
    before: Array | None


def state_divergence(forward: Any, reverse: Any) -> Estimate:
    """Return the estimate of KL(forward ‖ reverse) in nats, ``[rows]``, in the parts ``"prior"`` and ``"steps"``.

    It is exact where all times and all states are summed.

    Args:
      forward: a `Corrupting`.
      reverse: a `Restoring` of the same noise, steps and values.

    Raises:
      ValueError: if they differ in these.
    """
    require_alike(forward, reverse, "noise")

    def parts(key: Key) -> Parts:
        steps, searched = _all(key, forward, reverse) if forward.times == "all" else _one(key, forward, reverse)
        prior = jnp.full(steps.shape, _prior(forward.noise, forward.x[0].size), steps.dtype)
        return Parts({"prior": prior, "steps": steps}, None if searched is None else prior + steps + searched)

    end = "1" if forward.steps is None else f"{forward.steps}"
    every = "Σ_t E KL(p(z_{t−1} | z_t, x) ‖ q(z_{t−1} | z_t))"
    masked = "Σ_masked −log x̂(x | z_t)"
    if forward.steps is None:
        steps = f"∫ −α′/(1 − α) E {masked} dt" if forward.noise.masks else "∫ −α′/(α K) E Σ ρ log ρ/ρ̂ − ρ + ρ̂ dt"
        steps = f"{every} → {steps}"
    else:
        steps = f"{every} = Σ_t (α_{{t−1}} − α_t)/(1 − α_t) E {masked}" if forward.noise.masks else every
    how = f"closed form of the prior and of {how_summed(forward.times, forward.steps)}"
    return Estimate(
        lambda key: sum(parts(key).values.values(), start=jnp.zeros(())),
        how + (", over all states" if forward.states == "all" else ""),
        forward.times != "all" or forward.states != "all",
        parts,
        {"prior": f"KL(p(z_{end} | x) ‖ q(z_{end}))", "steps": steps},
    )


def _prior(noise: Corruption, elements: int) -> Array:
    """``KL(p(z_T | x) ‖ q(z_T))``, the same for all data."""
    kept, classes = noise.end, noise.classes
    if noise.masks:
        return elements * kept * np.log(classes)
    own = kept + (1 - kept) / classes
    return elements * (own * jnp.log(own * classes) + (1 - own) * jnp.log1p(-kept))


def _all(key: Key, forward: Any, reverse: Any) -> tuple[Array, None]:
    """Sum over the steps, ``[rows]``."""
    rows, steps = forward.x.shape[0], forward.steps
    grid = forward.noise.survival.grid(steps + 1)
    before, alpha = (jnp.repeat(each, rows) for each in (grid[:-1], grid[1:]))
    each = _expected(key, forward, reverse, _Place(alpha, before - alpha, before))
    return jnp.sum(each.reshape(steps, rows), axis=0), None


def _one(key: Key, forward: Any, reverse: Any) -> tuple[Array, Array | None]:
    """Estimate by one time for each example: the value, and what a learned proposal minimizes."""
    choose, own = jax.random.split(key)
    noise, steps = forward.noise, forward.steps
    drawn = TimeDraws.of(choose, forward.x.shape[0], forward.times, forward.proposal, steps)
    if steps is None:
        alpha, slope = noise.survival.slope(drawn.place)
        each = _expected(own, forward, reverse, _Place(alpha, slope, None))
    else:
        grid = noise.survival.grid(steps + 1)
        step = (drawn.place * steps).astype(jnp.int32)
        before, alpha = grid[step], grid[step + 1]
        each = steps * _expected(own, forward, reverse, _Place(alpha, before - alpha, before))
    each = each * drawn.ratio
    return each, drawn.searched(each)


def _expected(key: Key, forward: Any, reverse: Any, place: _Place) -> Array:
    """The expectation of the term over z_t, at places ``[copies × rows]``."""
    noise, (rows, *event) = forward.noise, forward.x.shape
    copies = place.alpha.shape[0] // rows

    def tiled(each: Array | None, times: int) -> Any:
        return None if each is None else jnp.tile(each, (times, *(1,) * (each.ndim - 1)))

    def at(x: Array, z: Array, place: _Place) -> Array:
        whose = None if len(x) == rows or reverse.examples is None else jnp.tile(jnp.arange(rows), len(x) // rows)
        return _term(noise, x, z, reverse.restore(z, place.alpha, whose), place)

    x = tiled(forward.x, copies)
    if forward.states == "drawn":
        return at(x, noise.corrupted(key, x, beside(place.alpha, x)), place)
    every = all_sequences(noise.states, int(np.prod(event, dtype=int))).reshape(-1, *event)
    z = jnp.repeat(every, len(x), axis=0)
    x, place = tiled(x, len(every)), _Place(*(tiled(each, len(every)) for each in place))
    log_prob = _log_marginal(noise, x, z, place.alpha)
    each = jnp.where(log_prob > -jnp.inf, jnp.exp(log_prob) * at(x, z, place), 0)
    return jnp.sum(each.reshape(len(every), -1), axis=0)


def _log_marginal(noise: Corruption, x: Array, z: Array, alpha: Array) -> Array:
    """``log p(z_t | x)``, ``[rows]``, of ``[rows, *event]`` at α ``[rows]``."""
    same = jnp.where(z == x, 0.0, -jnp.inf).astype(alpha.dtype)
    return jnp.sum(noise.log_mixed(same, z, beside(alpha, z)).reshape(len(z), -1), axis=1)


def _term(noise: Corruption, x: Array, z: Array, log_data: Array, place: _Place) -> Array:
    """The divergence of a step, or of a time as a rate, ``[rows]``; ∞ for data that are not classes."""
    inside = (x >= 0) & (x < noise.classes)
    x = jnp.where(inside, x, 0)
    if noise.masks:
        cost = jnp.where(z == noise.classes, -_at(log_data, x), 0)
        masked = jnp.maximum(1 - place.alpha, jnp.finfo(place.alpha.dtype).tiny)  # where it is 0, nothing is masked
        each = beside(place.lost / masked, z) * cost
    elif place.before is None:
        each = _jumps(noise, x, z, log_data, place)
    else:
        each = _bridges(noise, x, z, log_data, place.before, place.alpha)
    return jnp.sum(jnp.where(inside, each, jnp.inf).reshape(len(z), -1), axis=1)


def _at(log_data: Array, z: Array) -> Array:
    return jnp.take_along_axis(log_data, z[..., None], axis=-1)[..., 0]


def _bridges(noise: Corruption, x: Array, z: Array, log_data: Array, before: Array, alpha: Array) -> Array:
    """``KL(p(z_s | z_t, x) ‖ q(z_s | z_t))`` of every element, without a mask."""
    states = jnp.arange(noise.classes, dtype=z.dtype)
    every = jnp.broadcast_to(states, log_data.shape)
    dtype = log_data.dtype
    before, alpha = (each.astype(dtype) for each in (before, alpha))
    known = jnp.where(every == x[..., None], 0.0, -jnp.inf).astype(dtype)
    stays = jnp.where(every == z[..., None], 0.0, -jnp.inf).astype(dtype)
    earlier, later = beside(before, every), beside(alpha, z)
    now = jnp.broadcast_to(z[..., None], every.shape)
    log_p = noise.log_mixed(known, every, earlier)
    ratio_now = noise.log_mixed(_at(known, z), z, later)
    bridge = noise.log_mixed(stays, now, beside(alpha / before, every)) + log_p - ratio_now[..., None]
    possible = log_p > -jnp.inf
    gained = jnp.where(possible, log_p, 0) - noise.log_mixed(log_data, every, earlier)
    each = jnp.where(possible, jnp.exp(bridge) * gained, 0)
    return jnp.sum(each, axis=-1) - ratio_now + noise.log_mixed(_at(log_data, z), z, later)


def _jumps(noise: Corruption, x: Array, z: Array, log_data: Array, place: _Place) -> Array:
    """The divergence of the rates of jumps of every element, without a mask."""
    tiny = jnp.finfo(log_data.dtype).tiny ** 0.75
    alpha = place.alpha.astype(log_data.dtype)
    size = beside(alpha * noise.classes / jnp.maximum(1 - alpha, tiny), log_data)
    known = jnp.broadcast_to(jnp.arange(noise.classes, dtype=x.dtype), log_data.shape) == x[..., None]
    # log P(y)/((1 − α)/K), accurate where nearly nothing is left of the data.
    true, told = jnp.log1p(size * known.astype(log_data.dtype)), jnp.log1p(size * jnp.exp(log_data))
    true, told = (each - _at(each, z)[..., None] for each in (true, told))
    off = told - true
    each = jnp.sum(jnp.exp(true) * (jnp.expm1(off) - off), axis=-1)
    return beside(place.lost.astype(log_data.dtype) / jnp.maximum(alpha * noise.classes, tiny), z) * each
