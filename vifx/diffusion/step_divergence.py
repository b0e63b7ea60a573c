"""The divergence of the forward chain from the reverse one, in its closed forms: the prior, and the steps.

::

    KL(p(z|x) ‖ q(z)) = KL(p(z_T|x) ‖ q(z_T)) + Σ_t E_p(z_t|x) KL(p(z_{t−1}|z_t, x) ‖ q(z_{t−1}|z_t))

by the chain rule from the last time backward. Both laws of a step are bridges of one variance, of the data and of what
is predicted of them, so that with s = t − 1, γ = −log SNR and ε̂ the predicted noise the term is

    ½ (SNR(s) − SNR(t)) ‖x − x̂‖² = ½ (e^{γ_t − γ_s} − 1) ‖ε − ε̂‖²,

to which ½ γ′(t) dt ‖ε − ε̂‖² tends in continuous time. The sum is estimated at one time for each example, drawn from a
density and divided by it, with ``z_t = α_t x + σ_t ε`` at once.
"""

from __future__ import annotations

__all__ = ["divergence", "how_summed", "require_alike"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Estimate, Key, Parts
from vifx.diffusion.noise_schedule import NoiseLevel, beside
from vifx.diffusion.second_moment import attached, measured
from vifx.diffusion.step_times import Proposal, TimeDraws, Times


def divergence(forward: Any, reverse: Any) -> Estimate:
    """Return the estimate of KL(forward ‖ reverse) in nats, ``[rows]``, in the parts ``"prior"`` and ``"steps"``.

    Args:
      forward: a `Noising`.
      reverse: a `Denoising` of the same schedule, steps and values.

    Raises:
      ValueError: if they differ in these.
    """
    require_alike(forward, reverse, "schedule")

    def parts(key: Key) -> Parts:
        prior = _prior(forward, reverse)
        steps, weighted, searched = (
            _all(key, forward, reverse) if forward.times == "all" else _one(key, forward, reverse)
        )
        values = {"prior": prior, "steps": steps}
        if reverse.weighting is None and searched is None and not reverse.schedule.is_learned:
            return Parts(values)
        return Parts(values, prior + weighted + (0 if searched is None else searched))

    end = "1" if forward.steps is None else f"{forward.steps}"
    every = "Σ_t E KL(p(z_s | z_t, x) ‖ q(z_s | z_t))"
    steps = f"{every} = Σ_t ½ (SNR(z_s) − SNR(z_t)) E ‖x − x̂(z_t, t)‖²"
    formulas = {
        "prior": f"KL(p(z_{end} | x) ‖ q(z_{end}))",
        "steps": f"{every} → ½ ∫ γ′(t) E ‖ε − ε̂(z_t, t)‖² dt" if forward.steps is None else steps,
    }
    return Estimate(
        lambda key: sum(parts(key).values.values(), start=jnp.zeros(())),
        f"closed form of the prior and of {how_summed(forward.times, forward.steps)}",
        True,
        parts,
        formulas,
        "" if reverse.weighting is None else reverse.weighting.label,
    )


def require_alike(forward: Any, reverse: Any, noise: str) -> None:
    """Refuse two chains that are not of the same noise, steps and values.

    Args:
      noise: the attribute that says what the noise is, with a label.

    Raises:
      ValueError: if they differ.
    """
    for name in (noise, "steps"):
        one, other = getattr(forward, name), getattr(reverse, name)
        if one != other:
            raise ValueError(
                f"the forward chain has {name}={getattr(one, 'label', one)} and the reverse chain "
                f"{getattr(other, 'label', other)}; give both the same"
            )
    if forward.event_shape != reverse.event_shape:
        raise ValueError(
            f"the forward chain is over paths {list(forward.event_shape)} and the reverse chain over "
            f"{list(reverse.event_shape)}; give the reverse chain the shape of the data, {list(forward.x.shape[1:])}"
        )


def how_summed(times: Times, steps: int | None) -> str:
    """Say at which times the steps are taken."""
    one = "one time" if steps is None else f"one step of {steps}"
    if isinstance(times, Proposal):
        return f"{one}, drawn by importance" + (", learned" if times.learns else "")
    ways = {"all": f"each of {steps} steps", "uniform": f"{one}, drawn uniformly"}
    return ways.get(times, f"{one} for each example, spread over the batch")


def _prior(forward: Any, reverse: Any) -> Array:
    """``KL(N(α x, σ² I) ‖ N(0, (α² + σ²) I))`` at the last time."""
    level = NoiseLevel(*(each[1].astype(forward.x.dtype) for each in reverse.schedule.ends))
    x = forward.x.reshape(forward.x.shape[0], -1)
    share = (level.sigma / level.norm) ** 2
    squares = (level.alpha / level.norm) ** 2 * jnp.sum(x**2, axis=1)
    return (squares + x.shape[1] * (share - 1 - jnp.log(share))) / 2


def _error(key: Key, forward: Any, reverse: Any, gamma: Array) -> Array:
    """``‖ε − ε̂‖²`` at γ, ``[rows]``; of several rows of an example, one γ each: ``[copies × rows]``."""
    copies = gamma.shape[0] // forward.x.shape[0]
    x = jnp.tile(forward.x, (copies, *(1,) * (forward.x.ndim - 1)))
    level = reverse.schedule.at_gamma(gamma)
    noise = jax.random.normal(key, x.shape, x.dtype)
    z = beside(level.alpha, x) * x + beside(level.sigma, x) * noise
    examples = None if copies == 1 or reverse.examples is None else jnp.tile(jnp.arange(reverse.examples), copies)
    return reverse.denoise(z, gamma, examples).squared_error(x, noise)


def _all(key: Key, forward: Any, reverse: Any) -> tuple[Array, Array, None]:
    """Sum over the steps, the value and the weighted one, ``[rows]``."""
    rows, steps = forward.x.shape[0], forward.steps
    gamma = reverse.grid(steps + 1).gamma.astype(forward.x.dtype)
    now, rate = (jnp.repeat(each, rows) for each in (gamma[1:], jnp.expm1(jnp.diff(gamma))))
    each = rate * _error(key, forward, reverse, now) / 2
    weighted = each if reverse.weighting is None else each * reverse.weighting.of(now, steps * rate)
    return jnp.sum(each.reshape(steps, rows), axis=0), jnp.sum(weighted.reshape(steps, rows), axis=0), None


def _one(key: Key, forward: Any, reverse: Any) -> tuple[Array, Array, Array | None]:
    """Estimate by one time for each example: the value, the weighted one, and what a learned proposal minimizes."""
    choose, own = jax.random.split(key)
    drawn = TimeDraws.of(choose, forward.x.shape[0], forward.times, forward.proposal, forward.steps)
    place, token = drawn.place.astype(forward.x.dtype), None
    if forward.steps is None:
        gamma, rate = reverse.schedule.slope(place, reverse.learned)
        if reverse.schedule.is_learned:
            gamma, rate, token = attached(gamma, rate)
    else:
        before = jnp.floor(place * forward.steps)
        earlier, gamma = (
            reverse.schedule.gamma(each / forward.steps, reverse.learned) for each in (before, before + 1)
        )
        rate = forward.steps * jnp.expm1(gamma - earlier)
    each = rate * _error(own, forward, reverse, gamma) * drawn.ratio / 2
    weighted = each if reverse.weighting is None else each * reverse.weighting.of(gamma, rate)
    if token is not None:
        weighted = measured(weighted, token)
    return each, weighted, drawn.searched(weighted)
