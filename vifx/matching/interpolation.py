"""Paths from data to noise, ``x_t = α_t x + σ_t ε``: where they are, how fast, and what that says of x and ε."""

from __future__ import annotations

__all__ = ["Path", "linear", "scheduled"]

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from vifx.checks import require, require_number
from vifx.core.types import Array
from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule, beside
from vifx.diffusion.prediction import Prediction


class Path(NamedTuple):
    """``x_t = α_t x + σ_t ε`` for t from 0, the data, to 1, the base; `linear` and `scheduled` make one.

    In the literature of flow matching time runs the other way, 1 − t, with −v.

    Attributes:
      label: its name and its settings.
      scales: ``t -> ((α, σ), (dα/dt, dσ/dt))``, each ``[rows]``, of times ``[rows]``.
    """

    label: str
    scales: Callable[[Array], tuple[tuple[Array, Array], tuple[Array, Array]]]

    def point(self, x: Array, noise: Array, t: Array) -> Array:
        """Return ``x_t = α_t x + σ_t ε``, ``[rows, *event]``.

        Args:
          x: data, ``[rows, *event]``.
          noise: ε, of the same shape.
          t: ``[rows]``.

        Raises:
          ValueError: a time that is not in [0, 1], where it can be seen.
        """
        (alpha, sigma), _ = self._at(t, x)
        return alpha * x + sigma * noise

    def velocity(self, x: Array, noise: Array, t: Array) -> Array:
        """Return ``u = dx_t/dt = α′_t x + σ′_t ε`` of one pair, ``[rows, *event]``; arguments as of `point`."""
        _, (alpha_rate, sigma_rate) = self._at(t, x)
        return alpha_rate * x + sigma_rate * noise

    def prediction(self, velocity: Array, x_t: Array, t: Array) -> Prediction:
        """Return what a velocity at x_t says of the data and the noise: x, ε, v and the score.

        ``x_t = α x + σ ε`` and ``v(x_t) = α′ x + σ′ ε`` are two equations for both: a velocity is a denoiser in other
        words.

        Args:
          velocity: ``[rows, *event]``.
          x_t: where, of the same shape.
          t: ``[rows]``, in [0, 1].
        """
        ((alpha, sigma), (alpha_rate, sigma_rate)), level = self._at(t, x_t), self._level(t)
        squares, turn = alpha**2 + sigma**2, alpha * sigma_rate - alpha_rate * sigma
        growth = alpha * alpha_rate + sigma * sigma_rate
        return Prediction((squares * velocity - growth * x_t) / (turn * jnp.sqrt(squares)), "v", x_t, level)

    def velocity_of(self, prediction: Prediction, t: Array) -> Array:
        """Return the velocity that a prediction of a denoiser at x_t means, ``α′ x̂ + σ′ ε̂``: `prediction` back.

        Args:
          prediction: with the α and σ of this path at the times t.
          t: ``[rows]``, in [0, 1].
        """
        z = prediction.z
        (alpha, sigma), (alpha_rate, sigma_rate) = self._at(t, z)
        squares, turn = alpha**2 + sigma**2, alpha * sigma_rate - alpha_rate * sigma
        growth = alpha * alpha_rate + sigma * sigma_rate
        return (turn * jnp.sqrt(squares) * prediction.v + growth * z) / squares

    def _at(self, t: Array, event: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        t = _require_times(t, self.label).astype(event.dtype)
        (alpha, sigma), rates = self.scales(t)
        return (beside(alpha, event), beside(sigma, event)), (beside(rates[0], event), beside(rates[1], event))

    def _level(self, t: Array) -> NoiseLevel:
        (alpha, sigma), _ = self.scales(t)
        return NoiseLevel(2 * (jnp.log(sigma) - jnp.log(alpha)), alpha, sigma, jnp.sqrt(alpha**2 + sigma**2))


def linear(*, noise: float = 0.0) -> Path:
    """The straight line from data to noise at constant speed: ``x_t = (1 − t) x + t ε``, ``u = ε − x``.

    Args:
      noise: the least σ, s of ``σ_t = s + (1 − s) t``: with it the path begins at the data with so much noise.

    Raises:
      ValueError: `noise` is not in [0, 1).

    References: Lipman et al. (2023), Flow matching for generative modeling, arXiv:2210.02747; Liu, Gong & Liu (2023),
    Flow straight and fast, arXiv:2209.03003.

    Example:
      >>> import jax.numpy as jnp
      >>> x, noise, t = jnp.array([[4.0]]), jnp.array([[2.0]]), jnp.array([0.25])
      >>> print(linear().point(x, noise, t), linear().velocity(x, noise, t))
      [[3.5]] [[-2.]]
    """
    least = require_number(noise, "linear: noise", least=0, below=1)

    def scales(t: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        return (1 - t, least + (1 - least) * t), (jnp.full_like(t, -1), jnp.full_like(t, 1 - least))

    return Path(f"linear(noise={least:g})" if least else "linear()", scales)


def scheduled(schedule: NoiseSchedule) -> Path:
    """The path of a diffusion that preserves the variance: ``α² + σ² = 1`` by the noise schedule.

    ``u = ½ γ′ α σ (α ε − σ x)``, a multiple of the diffusion's v. The path begins at the data with the noise that the
    schedule starts with, which the flow takes for the data itself, and ends at the base with a rest of the data: choose
    the ends of the schedule so that both are small.

    Args:
      schedule: such as ``vifx.diffusion.cosine()``, without parameters.

    Raises:
      TypeError: it is not a schedule.
      ValueError: it is learned, or its variance explodes.

    References: Lipman et al. (2023), arXiv:2210.02747; Song et al. (2021), arXiv:2011.13456.
    """
    require(schedule, NoiseSchedule, "scheduled: schedule", "a NoiseSchedule", "make one with vifx.diffusion.cosine()")
    if schedule.is_learned or schedule.variance != "preserving":
        raise ValueError(
            f"scheduled: schedule must have no parameters and preserve the variance, got {schedule.label}, variance "
            f"{schedule.variance!r}; give vifx.diffusion.cosine() or linear_log_snr()"
        )

    def scales(t: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        gamma, rate = schedule.slope(t)
        level = schedule.at_gamma(gamma)
        half = rate * level.alpha * level.sigma / 2
        return (level.alpha, level.sigma), (-half * level.sigma, half * level.alpha)

    return Path(f"scheduled({schedule.label})", scales)


def _require_times(t: Array, label: str) -> Array:
    t = jnp.asarray(t, jnp.result_type(float)) if not hasattr(t, "dtype") else t
    if not isinstance(t, Tracer) and not bool(jnp.all((t >= 0) & (t <= 1))):
        outside = float(t[(t < 0) | (t > 1) | jnp.isnan(t)].reshape(-1)[0])
        raise ValueError(f"{label}: t must be in [0, 1], 0 the data and 1 the base, got {outside:g}")
    return t
