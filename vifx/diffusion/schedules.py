"""The shipped noise schedules."""

from __future__ import annotations

__all__ = ["cosine", "learned", "linear_beta", "linear_log_snr"]

import math

import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.diffusion.noise_schedule import NoiseSchedule, Variance

_START, _END = -13.3, 5.0


def linear_log_snr(*, start: float = _START, end: float = _END, variance: Variance = "preserving") -> NoiseSchedule:
    """``γ(t) = start + (end − start) t``: the log of the ratio of signal to noise falls linearly.

    With exploding variance σ is geometric: ``linear_log_snr(start=2 * math.log(0.01), end=2 * math.log(50),
    variance="exploding")`` goes from 0.01 to 50.

    Args:
      start: γ(0) = log σ²/α² at the data; at −13.3 the noise is 1/772 of the signal.
      end: γ(1), at the prior.
      variance: ``"preserving"``, α² + σ² = 1, or ``"exploding"``, α = 1.

    Raises:
      ValueError: `end` is not above `start`.

    References: Kingma et al. (2021), Variational diffusion models, arXiv:2107.00630; Song et al. (2021),
    arXiv:2011.13456.
    """
    return NoiseSchedule(
        label=f"linear_log_snr(start={start}, end={end})",
        start=start,
        end=end,
        variance=variance,
        fraction=lambda params, t: t,  # noqa: ARG005
    )


def cosine(*, start: float = _START, end: float = _END, variance: Variance = "preserving") -> NoiseSchedule:
    """``α = cos(π u/2)``, ``σ = sin(π u/2)``, u linear in t and such that γ goes from `start` to `end`.

    Args:
      start: γ(0) = log σ²/α² at the data.
      end: γ(1), at the prior.
      variance: ``"preserving"``, or ``"exploding"``: the same γ with α = 1.

    Raises:
      ValueError: `end` is not above `start`.

    Reference: Nichol & Dhariwal (2021), Improved denoising diffusion probabilistic models, arXiv:2102.09672.
    """
    low, high = (math.atan(math.exp(require_number(each, "cosine: ends") / 2)) for each in (start, end))

    def fraction(params: PyTree, t: Array) -> Array:
        del params
        # log tan, of an angle near 0 and near π/2 alike: both sine and cosine are accurate there.
        angle, rest = low + (high - low) * t, (math.pi / 2 - high) + (high - low) * (1 - t)
        return (2 * (jnp.log(jnp.sin(angle)) - jnp.log(jnp.sin(rest))) - start) / (end - start)

    return NoiseSchedule(
        label=f"cosine(start={start}, end={end})", start=start, end=end, variance=variance, fraction=fraction
    )


def linear_beta(*, beta: tuple[float, float] = (0.1, 20.0), start: float = _START) -> NoiseSchedule:
    """``α² = exp(−B)``, ``B = ∫ β``, β linear in time: the variance-preserving schedule of DDPM in continuous time.

    ``beta=(0.1, 20)`` is DDPM's ``β_t = 10⁻⁴ … 0.02`` of 1000 steps. Time starts where γ is `start`, not at no noise.

    Args:
      beta: β at the first and at the last time, 0 < β_0 < β_1.
      start: γ(0).

    Raises:
      ValueError: β does not increase, or `start` is not below the end.

    References: Ho, Jain & Abbeel (2020), arXiv:2006.11239; Song et al. (2021), arXiv:2011.13456.
    """
    low = require_number(beta[0], "linear_beta: beta[0]", above=0)
    high = require_number(beta[1], "linear_beta: beta[1]", above=low)
    first = math.log1p(math.exp(require_number(start, "linear_beta: start")))  # B where γ is the start
    total = (low + high) / 2
    # B(u) = low u + (high − low) u²/2, solved without a difference of near numbers.
    begun = 2 * first / (low + math.sqrt(low**2 + 2 * (high - low) * first))
    end = math.log(math.expm1(total))

    def fraction(params: PyTree, t: Array) -> Array:
        del params
        u = begun + (1 - begun) * t
        integral = low * u + (high - low) / 2 * u**2
        # log(e^B − 1) = B + log(1 − e^−B), of small and of large B.
        return (integral + jnp.log(-jnp.expm1(-integral)) - start) / (end - start)

    return NoiseSchedule(label=f"linear_beta(beta={beta}, start={start})", start=start, end=end, fraction=fraction)


def learned(
    *, units: int = 64, start: float = _START, end: float = _END, variance: Variance = "preserving"
) -> NoiseSchedule:
    """A monotone network of the time between fixed ends; its parameters are the denoiser's, ``"schedule"``.

    ``γ(t) = start + (end − start) (m(t) − m(0))/(m(1) − m(0))`` with ``m(t) = a t + Σ_k b_k σ(c_k (t − d_k))``, of
    which a, b and c are positive, so that γ increases strictly. It starts close to linear. It is for continuous time,
    where the bound depends on the ends alone, and what is learned between them is a small variance of the estimate:
    its gradient is that of the squared step term.

    Args:
      units: how many sigmoids.
      start: γ(0).
      end: γ(1).
      variance: ``"preserving"`` or ``"exploding"``.

    Raises:
      ValueError: `units` < 1, or `end` is not above `start`.

    Reference: Kingma et al. (2021), Variational diffusion models, arXiv:2107.00630.
    """
    require_integer(units, "learned: units")

    def init(key: Key) -> PyTree:
        noise = 0.1 * jax.random.normal(key, (2, units))
        return {
            "slope": jnp.zeros(()),
            "weight": noise[0] - math.log(units) - 2,
            "rate": 2 + noise[1],
            "place": jnp.linspace(0.0, 1.0, units),
        }

    def rising(params: PyTree, t: Array) -> Array:
        rate = jax.nn.softplus(params["rate"]) * 4
        raised = jax.nn.sigmoid(rate[None] * (t[:, None] - params["place"][None]))
        return jax.nn.softplus(params["slope"]) * t + raised @ jax.nn.softplus(params["weight"])

    def fraction(params: PyTree, t: Array) -> Array:
        # The ends go the same way as the times, so that they are exactly 0 and 1.
        flat = t.reshape(-1)
        all_times = rising(params, jnp.concatenate([jnp.zeros(1, t.dtype), flat, jnp.ones(1, t.dtype)]))
        low, high = all_times[0], all_times[-1]
        return ((all_times[1:-1] - low) / (high - low)).reshape(t.shape)

    return NoiseSchedule(
        label=f"learned(units={units}, start={start}, end={end})",
        start=start,
        end=end,
        variance=variance,
        fraction=fraction,
        init=init,
        is_learned=True,
    )
