"""The Gaussian laws of a diffusion: marginals, steps and bridges."""

from __future__ import annotations

__all__ = ["bridge", "marginal", "step"]

import jax.numpy as jnp

from vifx.core.types import Array, Distribution
from vifx.diffusion.noise_schedule import NoiseLevel, beside
from vifx.distributions import Normal


def marginal(x: Array, level: NoiseLevel) -> Distribution:
    """``p(z_t | x) = N(α_t x, σ_t² I)``.

    Args:
      x: data, ``[rows, *event]``.
      level: of `NoiseSchedule.level`, ``[rows]``.
    """
    return _normal(beside(level.alpha, x) * x, level.sigma)


def step(z: Array, level: NoiseLevel, later: NoiseLevel) -> Distribution:
    """``p(z_t | z_s) = N((α_t/α_s) z_s, σ²_{t|s} I)`` for s < t, with ``σ²_{t|s} = σ_t² − (α_t/α_s)² σ_s²``.

    Args:
      z: z_s, ``[rows, *event]``.
      level: of s, ``[rows]``.
      later: of t, ``[rows]``.
    """
    scale = later.sigma * jnp.sqrt(-jnp.expm1(level.gamma - later.gamma))
    return _normal(beside(later.alpha / level.alpha, z) * z, scale)


def bridge(z: Array, x: Array, earlier: NoiseLevel, level: NoiseLevel) -> Distribution:
    """``p(z_s | z_t, x)`` for s < t: normal around ``(α_{t|s} σ_s²/σ_t²) z_t + (α_s σ²_{t|s}/σ_t²) x``.

    Its variance is ``σ²_{t|s} σ_s²/σ_t²``. The generative chain is this with x̂(z_t, t) in the place of x.

    Args:
      z: z_t, ``[rows, *event]``.
      x: the data, or what is predicted of them, ``[rows, *event]``.
      earlier: of s, ``[rows]``.
      level: of t, ``[rows]``.
    """
    kept = jnp.exp(earlier.gamma - level.gamma)  # SNR(t)/SNR(s)
    new = -jnp.expm1(earlier.gamma - level.gamma)  # σ²_{t|s}/σ_t²
    loc = beside(earlier.alpha / level.alpha * kept, z) * z + beside(earlier.alpha * new, x) * x
    return _normal(loc, earlier.sigma * jnp.sqrt(new))


def _normal(loc: Array, scale: Array) -> Distribution:
    return Normal(loc, jnp.broadcast_to(beside(scale, loc), loc.shape)).to_event(loc.ndim - 1)
