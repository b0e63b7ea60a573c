"""The family of α divergences."""

from __future__ import annotations

__all__ = ["alpha"]

import math
from functools import cache, partial

import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array
from vifx.distributions.log_zero import log_of
from vifx.divergences.divergence import Divergence
from vifx.divergences.normals import normal_power
from vifx.divergences.numerics import expm1, within_range

NEAREST = 1e-12  # to 0 or 1: the limits are exact there to rounding
LARGEST = 1e6


def alpha(value: float) -> Divergence:
    """The α divergence ``Σ (P^α Q^{1−α} − α P − (1−α) Q) / (α(α−1))``, α ∉ {0, 1}.

    ``T = (e^{(α−1)ℓ} − 1)/(α−1)`` and ``f*(T) = (e^{αℓ} − 1)/α``. As α → 1 it tends to `kl`, as α → 0 to
    `reverse_kl`; α = 2 is half of `pearson`, α = −1 half of `neyman`, α = ½ twice `squared_hellinger`; α and
    1 − α are each other with swapped arguments. The larger α, the more it costs to miss mass of P.

    Args:
      value: α, at most 10⁶ in magnitude, neither 0 nor 1 nor within 10⁻¹² of them.

    Raises:
      ValueError: if α is 0, 1 or out of range.

    >>> alpha(1.5).name
    'alpha(1.5)'
    """
    require_number(value, "value", least=-LARGEST, most=LARGEST, hint="beyond them the powers overflow")
    if min(abs(value), abs(value - 1)) < NEAREST:
        limit = "reverse_kl" if abs(value) < NEAREST else "kl"
        raise ValueError(f"value must be neither 0 nor 1, but α = {value:g}; use its limit there, divergences.{limit}")
    return _alpha(float(value))


def _generator(u: Array, order: float) -> Array:
    # Both parts vanish at u = 1; expm1 keeps them exact for orders next to 0 and 1.
    log_u = log_of(u)
    if abs(order) < abs(order - 1):
        return (expm1(order * log_u) / order - (u - 1)) / (order - 1)
    return (u * expm1((order - 1) * log_u) / (order - 1) - (u - 1)) / order


def _conjugate(t: Array, order: float) -> Array:
    base = 1 + t * (order - 1)
    inside = base > 0
    value = expm1(order / (order - 1) * jnp.log(jnp.where(inside, base, 1))) / order
    if order > 1:
        return jnp.where(inside, value, -1 / order)  # −f(0), the supremum at u = 0
    at_edge = -1 / order if order < 0 else jnp.inf
    return jnp.where(inside, value, jnp.where(base < 0, jnp.inf, at_edge))


@cache
def _alpha(order: float) -> Divergence:
    distance = abs(1 - order)
    edge, power = 1 / (1 - order), order / (order - 1)
    side = 1.0 if order > 1 else -1.0

    def ratio_within(ratio: Array) -> Array:
        times = 1 / min(abs(order), distance)
        return within_range(ratio, rise=max(order, 0.0), fall=max(1 - order, 0.0), times=times)

    def scaled(v: Array) -> Array:
        """``log(|1−α| e^v)``, as far as ``e^v`` and the power in f* can be represented."""
        shifted = within_range(v, rise=1, times=max(distance, 1.0)) + math.log(distance)
        times = 1 / min(abs(order), 1.0)
        return within_range(shifted, rise=max(0.0, power), fall=max(0.0, -power), times=times)

    return Divergence(
        name=f"alpha({order!r})",
        formula=f"Σ (P^α Q^(1−α) − α P − (1−α) Q)/(α(α−1)), α = {order:g}",
        latex=rf"\frac{{\sum P^\alpha Q^{{1-\alpha}} - 1}}{{\alpha(\alpha-1)}},\ \alpha = {order:g}",
        generator=partial(_generator, order=order),
        critic_value=lambda ratio: expm1((order - 1) * ratio_within(ratio)) / (order - 1),
        conjugate_value=lambda ratio: expm1(order * ratio_within(ratio)) / order,
        conjugate=partial(_conjugate, order=order),
        domain=(edge, math.inf) if order > 1 else (-math.inf, edge),
        conjugate_range=(-1 / order, math.inf) if order > 0 else (-math.inf, -1 / order),
        activation=lambda v: edge + side * jnp.exp(scaled(v)) / distance,
        activated_conjugate=lambda v: expm1(power * scaled(v)) / order,
        normal_value=partial(normal_power, order=order, factor=1 / (order * (order - 1))),
        opposite=lambda: alpha(1 - order),
    )
