"""``q f(p/q)`` of two log-densities, and the exact divergence of two finite distributions."""

from __future__ import annotations

__all__ = ["between_categoricals", "perspective"]

import math

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.divergences.divergence import Divergence

NEAR = 8.0  # nats: to here f itself is exact next to f(1); beyond, T and f*(T) do not overflow


def perspective(divergence: Divergence, log_p: Array, log_q: Array) -> Array:
    """Return ``q f(p/q)`` elementwise, where p or q may be zero (a log of −∞).

    Where p is zero it is ``q f(0)``, where q is zero ``p f′(∞)``, each possibly infinite, and 0 where both are.
    Value and gradient are free of NaN; the gradient is zero where the value is infinite, and with respect to a
    log of −∞. It is exact as far as `Divergence` says that its exponentials are, and a lower bound beyond.

    Args:
      divergence: any.
      log_p: log-probability or log-density of P, any shape.
      log_q: the same of Q, same shape.
    """
    has_p, has_q = log_p > -jnp.inf, log_q > -jnp.inf
    both = has_p & has_q
    safe_p, safe_q = (jnp.where(both, log, 0) for log in (log_p, log_q))
    ratio = safe_p - safe_q
    near = jnp.abs(ratio) <= NEAR
    by_generator = jnp.exp(safe_q) * divergence.generator(jnp.exp(jnp.where(near, ratio, 0)))
    value, conjugate = divergence.critic_value(ratio), divergence.conjugate_value(ratio)
    by_bound = jnp.exp(safe_p) * value - jnp.exp(safe_q) * conjugate
    result = jnp.where(both, jnp.where(near, by_generator, by_bound), 0)
    invented = _priced(divergence.at_zero, log_q, has_q & ~has_p)
    missed = _priced(divergence.at_infinity, log_p, has_p & ~has_q)
    return result + invented + missed


def _priced(price: float, log_mass: Array, where: Array) -> Array:
    """``price · mass`` where it applies, 0 elsewhere."""
    if math.isinf(price):
        return jnp.where(where, jnp.asarray(price, log_mass.dtype), 0)
    return price * jnp.where(where, jnp.exp(jnp.where(where, log_mass, 0)), 0)


def between_categoricals(divergence: Divergence, log_p: Array, log_q: Array) -> Array:
    """Return ``D_f(P ‖ Q) = Σ_s q(s) f(p(s)/q(s))`` over the states of the last axis, exactly.

    States of probability zero are allowed: see `perspective`. The probabilities are taken as they are given, so
    both should sum to one.

    Args:
      divergence: any.
      log_p: log-probabilities of P, shape ``[..., states]``.
      log_q: log-probabilities of Q, shape ``[..., states]``.

    Returns:
      The divergence, shape ``[...]``, in nats or without unit as f is.

    >>> import jax.numpy as jnp
    >>> from vifx import divergences
    >>> log_p, log_q = jnp.log(jnp.array([0.5, 0.5, 0.0])), jnp.log(jnp.array([0.25, 0.5, 0.25]))
    >>> round(float(between_categoricals(divergences.total_variation, log_p, log_q)), 6)
    0.25
    """
    log_p, log_q = jnp.broadcast_arrays(log_p, log_q)
    return jnp.sum(perspective(divergence, log_p, log_q), axis=-1)
