"""The Jensen–Shannon divergence, its skewed family, and the value of the original GAN game; in nats."""

from __future__ import annotations

__all__ = ["gan", "jensen_shannon", "skew_jensen_shannon"]

import math
from functools import cache, partial

import jax
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.distributions.log_zero import log_of
from vifx.divergences.divergence import Divergence
from vifx.divergences.numerics import defined_where, log1m_exp

LOG2 = math.log(2)


def _gan_generator(u: Array) -> Array:
    """``u log u − (1 + u) log(1 + u)``, without the cancellation at large u."""
    log_u = log_of(u)
    return -jax.nn.softplus(log_u) - u * jax.nn.softplus(-log_u)


def _gan_conjugate(t: Array) -> Array:
    return defined_where(t < 0, lambda inside: -log1m_exp(-inside), t, safe=-1)


def _conjugate(t: Array) -> Array:
    return 0.5 * (_gan_conjugate(2 * t - LOG2) - LOG2)


jensen_shannon = Divergence(
    name="jensen_shannon",
    formula="½ KL(P ‖ M) + ½ KL(Q ‖ M), M = ½ P + ½ Q",
    latex=r"\tfrac12 \mathrm{KL}(P\|M) + \tfrac12 \mathrm{KL}(Q\|M)",
    generator=lambda u: _skew_generator(u, 0.5),
    critic_value=lambda ratio: 0.5 * (LOG2 - jax.nn.softplus(-ratio)),
    conjugate_value=lambda ratio: 0.5 * (jax.nn.softplus(ratio) - LOG2),
    conjugate=_conjugate,
    domain=(-math.inf, 0.5 * LOG2),
    conjugate_range=(-0.5 * LOG2, math.inf),
    activation=lambda v: 0.5 * (LOG2 - jax.nn.softplus(-v)),
    activated_conjugate=lambda v: 0.5 * (jax.nn.softplus(v) - LOG2),
    opposite=lambda: jensen_shannon,
)
"""The Jensen–Shannon divergence with weights ½: symmetric, at most log 2."""

gan = Divergence(
    name="gan",
    formula="2 JS(P, Q) − 2 log 2",
    latex=r"2\,\mathrm{JS}(P, Q) - 2\log 2",
    generator=_gan_generator,
    critic_value=lambda ratio: -jax.nn.softplus(-ratio),
    conjugate_value=jax.nn.softplus,
    conjugate=_gan_conjugate,
    domain=(-math.inf, 0.0),
    conjugate_range=(0.0, math.inf),
    activation=lambda v: -jax.nn.softplus(-v),
    activated_conjugate=jax.nn.softplus,
    at_equality=-2 * LOG2,
    opposite=lambda: gan,
)
"""The value of the GAN game at the best critic, ``f(u) = u log u − (1 + u) log(1 + u)``.

A divergence up to the constant ``f(1) = −2 log 2``, which `at_equality` declares. Its bound in the ratio
parametrization is minus the binary cross-entropy: ``E_P log σ(ℓ) + E_Q log(1 − σ(ℓ))``.
"""


def skew_jensen_shannon(weight: float) -> Divergence:
    """The Jensen–Shannon divergence ``w KL(P ‖ M) + (1 − w) KL(Q ‖ M)`` with ``M = w P + (1 − w) Q``, in nats.

    ``w = ½`` is `jensen_shannon`; divided by w it tends to KL(P ‖ Q) as w → 0, and divided by 1 − w to
    KL(Q ‖ P) as w → 1.

    Args:
      weight: w, the weight of P, 0 < w < 1.

    Raises:
      ValueError: if the weight is not between 0 and 1.

    >>> skew_jensen_shannon(0.1).name
    'skew_jensen_shannon(0.1)'
    """
    if not (weight > 0 and 1 - weight > 0 and 1 - weight < 1):
        raise ValueError(
            f"weight must lie between 0 and 1, got {weight}; at both ends the divergence vanishes, and divided by "
            "the weight that vanishes its limits are kl and reverse_kl"
        )
    return _skew(float(weight))


def _log_mixture(ratio: Array, weight: float) -> Array:
    """``log(1 − w + w e^ℓ)``, exact next to ℓ = 0 as well."""
    far = math.log1p(-weight) + jax.nn.softplus(ratio + math.log(weight) - math.log1p(-weight))
    near = jnp.abs(ratio) < 1
    return jnp.where(near, jnp.log1p(weight * jnp.expm1(jnp.where(near, ratio, 0))), far)


def _skew_generator(u: Array, weight: float) -> Array:
    """``w u log(u/m) − (1 − w) log m`` with ``m = 1 − w + w u``: nothing cancels or overflows at large u."""
    log_u = log_of(u)
    return -weight * u * _log_mixture(-log_u, 1 - weight) - (1 - weight) * _log_mixture(log_u, weight)


def _skew_critic(ratio: Array, weight: float) -> Array:
    """``w (ℓ − log(1 − w + w e^ℓ))`` without the cancellation at large ℓ."""
    return -weight * _log_mixture(-ratio, 1 - weight)


def _skew_activated_conjugate(v: Array, weight: float) -> Array:
    # log(1 − e^{−x}) at x = softplus(−v)/w; beyond the edge x = e^{−v}/w is small and the logarithm is log x.
    edge = 40 - math.log(weight)
    near = log1m_exp(jax.nn.softplus(-jnp.minimum(v, edge)) / weight)
    log_difference = jnp.where(v > edge, -v - math.log(weight), near)
    return (1 - weight) * (math.log1p(-weight) - log_difference)


def _skew_conjugate(t: Array, weight: float) -> Array:
    gan_conjugate = _gan_conjugate(t / weight + math.log(weight))
    return (1 - weight) * (math.log1p(-weight) + gan_conjugate)


@cache
def _skew(weight: float) -> Divergence:
    rest, top = 1 - weight, -weight * math.log(weight)
    return Divergence(
        name=f"skew_jensen_shannon({weight:g})",
        formula=f"{weight:g} KL(P ‖ M) + {rest:g} KL(Q ‖ M), M = {weight:g} P + {rest:g} Q",
        latex=rf"{weight:g}\,\mathrm{{KL}}(P\|M) + {rest:g}\,\mathrm{{KL}}(Q\|M)",
        generator=partial(_skew_generator, weight=weight),
        critic_value=partial(_skew_critic, weight=weight),
        conjugate_value=lambda ratio: rest * _log_mixture(ratio, weight),
        conjugate=partial(_skew_conjugate, weight=weight),
        domain=(-math.inf, top),
        conjugate_range=(rest * math.log(rest), math.inf),
        activation=lambda v: top - jax.nn.softplus(-v),
        activated_conjugate=partial(_skew_activated_conjugate, weight=weight),
        opposite=lambda: skew_jensen_shannon(rest),
    )
