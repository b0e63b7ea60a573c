"""Decoders of z_0, the data with little noise; they read the first point of a path."""

from __future__ import annotations

__all__ = ["normal", "shades"]

import math
from collections.abc import Callable

import jax.numpy as jnp

from vifx.core.types import Array, Distribution
from vifx.diffusion.noise_schedule import NoiseSchedule
from vifx.distributions import DiscretizedLogistic, Normal


def normal(schedule: NoiseSchedule) -> Callable[[Array], Distribution]:
    """A decoder of real data without parameters: ``q(x | z) = N(z_0/α_0, σ_0²/α_0² I)``.

    With it a diffusion is a density of the data, smoothed by noise of the standard deviation σ_0/α_0.

    Args:
      schedule: of the chain.
    """
    scale = math.exp(schedule.start / 2)

    def normal_of_z0(z: Array) -> Distribution:
        loc = z[:, 0] / schedule.ends.alpha[0]
        return Normal(loc, jnp.full_like(loc, scale)).to_event(loc.ndim - 1)

    return normal_of_z0


def shades(schedule: NoiseSchedule) -> Callable[[Array], Distribution]:
    """A decoder of images in 256 shades without parameters: logistic noise around z_0/α_0, rounded to a shade.

    Its standard deviation is that of the noise in z_0, σ_0/α_0 on the scale of `vifx.networks.Pixels`. From
    ``start = −13.3`` on that is a third of half a shade, and what is lost in the rounding is small.

    Args:
      schedule: of the chain.
    """
    log_scale = schedule.start / 2 + math.log(math.sqrt(3) / math.pi)

    def shades_of_z0(z: Array) -> Distribution:
        loc = z[:, 0] / schedule.ends.alpha[0]
        return DiscretizedLogistic(loc, jnp.full_like(loc, log_scale)).to_event(loc.ndim - 1)

    return shades_of_z0
