"""Noise schedules: how much noise there is at each time, as the log of the ratio of noise to signal."""

from __future__ import annotations

__all__ = ["NoiseLevel", "NoiseSchedule", "Variance", "beside", "noise_level", "schedule"]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.checks import require_choice, require_function, require_number
from vifx.core.types import Array, Key, PyTree

Variance: TypeAlias = Literal["preserving", "exploding"]
"""``"preserving"``: α² + σ² = 1; ``"exploding"``: α = 1."""


class NoiseLevel(NamedTuple):
    """How ``z_t = α_t x + σ_t ε`` mixes data and noise at given times.

    Attributes:
      gamma: γ = log σ²/α² = −log SNR, of any shape.
      alpha: α, of the same shape.
      sigma: σ, of the same shape.
      norm: ``√(α² + σ²)``, the standard deviation of z where x has 1; 1 where the variance is preserved.
    """

    gamma: Array
    alpha: Array
    sigma: Array
    norm: Array

    def at_rows(self, points: slice, rows: int) -> NoiseLevel:
        """Return the level of some points of a path for every row: ``[rows × points]``, row by row."""
        return NoiseLevel(*(jnp.tile(each[points], rows) for each in self))


def noise_level(gamma: Array, variance: Variance) -> NoiseLevel:
    """Return α and σ at γ: ``α² = 1/(1 + e^γ)`` where the variance is preserved, else 1; ``σ = α e^{γ/2}``."""
    if variance == "exploding":
        norm = jnp.exp(jax.nn.softplus(gamma) / 2)
        return NoiseLevel(gamma, jnp.ones_like(gamma), jnp.exp(gamma / 2), norm)
    alpha, sigma = (jnp.exp(jax.nn.log_sigmoid(each) / 2) for each in (-gamma, gamma))
    return NoiseLevel(gamma, alpha, sigma, jnp.ones_like(gamma))


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """γ(t) = −log SNR(t) for t in [0, 1], increasing from `start` to `end`.

    Make one with `linear_log_snr`, `cosine`, `linear_beta` or `learned`, or with `schedule` of a function. Networks are
    told the level ``(γ(t) − γ(0))/(γ(1) − γ(0))`` in place of the time, which means the same noise in every schedule.

    Attributes:
      label: its name and its settings; two schedules of one label are the same.
      start: γ(0).
      end: γ(1).
      variance: ``"preserving"`` or ``"exploding"``.
      fraction: ``(params, t) -> (γ(t) − γ(0))/(γ(1) − γ(0))``, elementwise, differentiable.
      init: ``key -> params``.
    """

    label: str
    start: float
    end: float
    variance: Variance = "preserving"
    fraction: Callable[[PyTree, Array], Array] = field(compare=False, repr=False)
    init: Callable[[Key], PyTree] = field(default=lambda key: {}, compare=False, repr=False)  # noqa: ARG005
    is_learned: bool = False

    def __post_init__(self) -> None:
        """Check the ends."""
        _require_ends(self.label, self.start, self.end)
        require_choice(self.variance, ("preserving", "exploding"), f"{self.label}: variance")

    def gamma(self, t: Array, params: PyTree = None) -> Array:
        """Return γ at times in [0, 1], of any shape; γ(0) and γ(1) are exact.

        Raises:
          ValueError: a time that is not in [0, 1], where it can be seen.
        """
        t = jnp.asarray(t, jnp.result_type(float))
        if not isinstance(t, Tracer) and not bool(jnp.all((t >= 0) & (t <= 1))):
            outside = float(t[(t < 0) | (t > 1) | jnp.isnan(t)].reshape(-1)[0])
            raise ValueError(f"{self.label}: t must be in [0, 1], got {outside:g}; of T steps, step i ends at i/T")
        return self.start + (self.end - self.start) * self.fraction(params, t)

    def level(self, t: Array, params: PyTree = None) -> NoiseLevel:
        """Return γ, α and σ at times in [0, 1], of any shape."""
        return noise_level(self.gamma(t, params), self.variance)

    @property
    def ends(self) -> NoiseLevel:
        """γ, α and σ at the times 0 and 1, ``[2]``, which no parameter moves."""
        return self.at_gamma(jnp.array([self.start, self.end]))

    def at_gamma(self, gamma: Array) -> NoiseLevel:
        """Return α and σ where γ is known."""
        return noise_level(gamma, self.variance)

    def slope(self, t: Array, params: PyTree = None) -> tuple[Array, Array]:
        """Return γ and dγ/dt at times in [0, 1]."""
        return jax.jvp(lambda t: self.gamma(t, params), (t,), (jnp.ones_like(t),))

    def told(self, gamma: Array) -> Array:
        """Return what a network is told of γ: 0 at the start of the schedule, 1 at its end."""
        return (gamma - self.start) / (self.end - self.start)


def schedule(gamma: Callable[[Array], Array], *, variance: Variance = "preserving") -> NoiseSchedule:
    """A schedule of one's own: ``γ(t) = −log SNR(t)``.

    Args:
      gamma: a function of times of any shape, elementwise, increasing in [0, 1], finite at both ends, and made of JAX's
        functions, since continuous time differentiates it.
      variance: ``"preserving"`` or ``"exploding"``.

    Raises:
      TypeError: `gamma` is not a function.
      ValueError: it does not increase, or is not finite.

    Example:
      >>> print(schedule(lambda t: 10 * t**2 - 8).level(0.0).gamma)
      -8.0
    """
    require_function(gamma, "schedule: gamma", "t -> γ(t)")
    with jax.ensure_compile_time_eval():
        grid = jnp.linspace(0.0, 1.0, 1025)
        values = np.asarray(gamma(grid))
    if values.shape != (1025,):
        raise ValueError(f"schedule: gamma must be elementwise, but maps [1025] to {list(values.shape)}")
    if not np.all(np.isfinite(values)):
        place = float(grid[np.argmin(np.isfinite(values))])
        raise ValueError(
            f"schedule: gamma must be finite in [0, 1], but is {gamma(jnp.asarray(place))} at t = {place:g}; let it "
            "start at a small noise, such as −13"
        )
    if np.any(falls := np.diff(values) <= 0):
        place = int(np.argmax(falls))
        raise ValueError(
            f"schedule: gamma = −log SNR must increase, but γ({place / 1024:.4g}) = {values[place]:.6g} and "
            f"γ({(place + 1) / 1024:.4g}) = {values[place + 1]:.6g}; noise is added along the way, never taken away"
        )
    start, end = float(values[0]), float(values[-1])

    def fraction(params: PyTree, t: Array) -> Array:
        del params
        return (gamma(t) - start) / (end - start)

    name = getattr(gamma, "__name__", type(gamma).__name__)
    return NoiseSchedule(
        label=f"schedule({name} at {id(gamma):x})", start=start, end=end, variance=variance, fraction=fraction
    )


def beside(values: Array, event: Array) -> Array:
    """Give ``[rows]`` as many axes as ``[rows, *event]`` has."""
    return values.reshape(values.shape[0], *(1,) * (event.ndim - 1))


def _require_ends(label: str, start: Any, end: Any) -> None:
    low = require_number(start, f"{label}: start")
    require_number(end, f"{label}: end", above=low, hint="γ = −log SNR increases, since noise is added along the way")
