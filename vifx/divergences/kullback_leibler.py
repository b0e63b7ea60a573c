"""The two Kullback–Leibler divergences and their sum, in nats."""

from __future__ import annotations

__all__ = ["jeffreys", "kl", "reverse_kl"]

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.distributions.log_zero import x_log_x
from vifx.divergences.divergence import Divergence
from vifx.divergences.normals import normal_kl
from vifx.divergences.numerics import defined_where, expm1, log_wright_omega, within_range


def _kl_critic(ratio: Array) -> Array:
    return within_range(ratio, rise=1) + 1


def _kl_conjugate_value(ratio: Array) -> Array:
    return jnp.exp(within_range(ratio, rise=1))


def _reverse_kl_conjugate(t: Array) -> Array:
    return defined_where(t < 0, lambda inside: -1 - jnp.log(-inside), t, safe=-1)


def _jeffreys_critic(ratio: Array) -> Array:
    ratio = within_range(ratio, rise=1, fall=1)
    return ratio - expm1(-ratio)


def _jeffreys_conjugate_value(ratio: Array) -> Array:
    ratio = within_range(ratio, rise=1, fall=1)
    return ratio + expm1(ratio)


def _jeffreys_conjugate(t: Array) -> Array:
    # W + 1/W + t − 2 with W = W(e^{1−t}); from log W = 1 − t − W it is 1/W − log W − 1.
    log_w = log_wright_omega(1 - t)
    return jnp.exp(-log_w) - log_w - 1


kl = Divergence(
    name="kl",
    formula="Σ P log(P/Q)",
    latex=r"\sum P \log\frac{P}{Q}",
    generator=x_log_x,
    critic_value=_kl_critic,
    conjugate_value=_kl_conjugate_value,
    conjugate=lambda t: jnp.exp(t - 1),
    domain=(-jnp.inf, jnp.inf),
    conjugate_range=(0.0, jnp.inf),
    activation=lambda v: within_range(v, rise=1),
    activated_conjugate=lambda v: jnp.exp(within_range(v, rise=1) - 1),
    normal_value=normal_kl,
    opposite=lambda: reverse_kl,
)
"""KL(P ‖ Q), ``f(u) = u log u``: infinite if Q misses mass of P, so its fit covers the data (maximum likelihood)."""

reverse_kl = Divergence(
    name="reverse_kl",
    formula="Σ Q log(Q/P)",
    latex=r"\sum Q \log\frac{Q}{P}",
    generator=lambda u: -jnp.log(u),
    critic_value=lambda ratio: -jnp.exp(-within_range(ratio, fall=1)),
    conjugate_value=lambda ratio: within_range(ratio, fall=1) - 1,
    conjugate=_reverse_kl_conjugate,
    domain=(-jnp.inf, 0.0),
    conjugate_range=(-jnp.inf, jnp.inf),
    activation=lambda v: -jnp.exp(within_range(v, rise=1)),
    activated_conjugate=lambda v: -1 - within_range(v, rise=1),
    normal_value=lambda loc_p, scale_p, loc_q, scale_q: normal_kl(loc_q, scale_q, loc_p, scale_p),
    opposite=lambda: kl,
)
"""KL(Q ‖ P), ``f(u) = −log u``: infinite if Q invents mass where P has none, so its fit seeks modes."""

jeffreys = Divergence(
    name="jeffreys",
    formula="Σ (P − Q) log(P/Q)",
    latex=r"\sum (P - Q) \log\frac{P}{Q}",
    generator=lambda u: (u - 1) * jnp.log(u),
    critic_value=_jeffreys_critic,
    conjugate_value=_jeffreys_conjugate_value,
    conjugate=_jeffreys_conjugate,
    domain=(-jnp.inf, jnp.inf),
    conjugate_range=(-jnp.inf, jnp.inf),
    activation=lambda v: within_range(v, rise=1),
    activated_conjugate=lambda v: _jeffreys_conjugate(within_range(v, rise=1)),
    normal_value=lambda loc_p, scale_p, loc_q, scale_q: (
        normal_kl(loc_p, scale_p, loc_q, scale_q) + normal_kl(loc_q, scale_q, loc_p, scale_p)
    ),
    opposite=lambda: jeffreys,
)
"""Jeffreys' divergence KL(P ‖ Q) + KL(Q ‖ P), ``f(u) = (u − 1) log u``: symmetric, both errors cost infinitely much.

Its conjugate is ``W + 1/W + t − 2`` with Lambert's ``W(e^{1−t})``, solved in the log domain for every t.
"""
