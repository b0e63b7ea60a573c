"""What there is between data and z_0, the data with little noise: its law, and decoders."""

from __future__ import annotations

__all__ = ["first", "normal", "shades"]

import math
from collections.abc import Callable

import jax.numpy as jnp

from vifx.core.types import Array, Distribution
from vifx.diffusion.gaussian_steps import marginal
from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule
from vifx.distributions import DiscretizedLogistic, Normal
from vifx.networks import Pixels


def first(schedule: NoiseSchedule) -> Callable[[Array], Distribution]:
    """The law of z_0 alone, without the rest of the path: ``p(z_0 | x) = N(α_0 x, σ_0² I)``.

    It stands in the inference joint where the generative one has a density of z_0, such as the one of `flow`.

    Args:
      schedule: of the chain.
    """

    def first_of_x(x: Array) -> Distribution:
        x = Pixels()(x) if x.dtype == jnp.uint8 else x
        return marginal(x, NoiseLevel(*(jnp.broadcast_to(each[0], x.shape[:1]) for each in schedule.ends)))

    return first_of_x


def normal(schedule: NoiseSchedule, *, path: bool = True) -> Callable[[Array], Distribution]:
    """A decoder of real data without parameters: ``q(x | z) = N(z_0/α_0, σ_0²/α_0² I)``.

    With it a diffusion is a density of the data, smoothed by noise of the standard deviation σ_0/α_0.

    Args:
      schedule: of the chain.
      path: whether z is a path, of which z_0 is the first point; otherwise it is z_0 itself, as of a `flow`.
    """
    scale = math.exp(schedule.start / 2)

    def normal_of_z0(z: Array) -> Distribution:
        loc = (z[:, 0] if path else z) / schedule.ends.alpha[0]
        return Normal(loc, jnp.full_like(loc, scale)).to_event(loc.ndim - 1)

    return normal_of_z0


def shades(schedule: NoiseSchedule, *, path: bool = True) -> Callable[[Array], Distribution]:
    """A decoder of images in 256 shades without parameters: logistic noise around z_0/α_0, rounded to a shade.

    Its standard deviation is that of the noise in z_0, σ_0/α_0 on the scale of `vifx.networks.Pixels`. From
    ``start = −13.3`` on that is a third of half a shade, and what is lost in the rounding is small.

    Args:
      schedule: of the chain.
      path: as in `normal`.
    """
    log_scale = schedule.start / 2 + math.log(math.sqrt(3) / math.pi)

    def shades_of_z0(z: Array) -> Distribution:
        loc = (z[:, 0] if path else z) / schedule.ends.alpha[0]
        return DiscretizedLogistic(loc, jnp.full_like(loc, log_scale)).to_event(loc.ndim - 1)

    return shades_of_z0
