"""Divergences between two normal distributions in closed form."""

from __future__ import annotations

__all__ = [
    "between_normals",
    "normal_kl",
    "normal_power",
    "normal_total_variation",
]

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from vifx.core.types import Array
from vifx.divergences.divergence import Divergence

FAR = 40.0  # standard deviations: beyond, the distribution function is 0 or 1 in double precision


def between_normals(divergence: Divergence, loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array) -> Array:
    """Return ``D_f(N(loc_p, scale_p²) ‖ N(loc_q, scale_q²))`` exactly, elementwise.

    The arguments are broadcast against each other; the result has that shape, in nats or without unit as f is.
    It is infinite where the integral diverges (Pearson's, for one, needs ``2 scale_q² > scale_p²``); there the
    gradient is zero.

    Args:
      divergence: total variation, KL, reverse KL, Pearson, Neyman, squared Hellinger, Jeffreys, an α
        divergence, or one of these swapped or mixed.
      loc_p: mean of P.
      scale_p: standard deviation of P, positive.
      loc_q: mean of Q.
      scale_q: standard deviation of Q, positive.

    Raises:
      ValueError: if the divergence has no closed form between normals.

    >>> import jax.numpy as jnp
    >>> from vifx import divergences
    >>> zero, one = jnp.zeros(()), jnp.ones(())
    >>> float(between_normals(divergences.kl, one, one, zero, one))
    0.5
    """
    if divergence.normal_value is None:
        raise ValueError(
            f"divergence must have a closed form between normals, but {divergence.name} has none (total_variation, "
            "kl, reverse_kl, pearson, neyman, squared_hellinger, jeffreys, alpha(...) and their mixtures do); "
            "use by_quadrature in one dimension"
        )
    parameters = jnp.broadcast_arrays(*map(jnp.asarray, (loc_p, scale_p, loc_q, scale_q)))
    return divergence.normal_value(*parameters)


def normal_kl(loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array) -> Array:
    """Return ``KL(P ‖ Q) = ½ [(σ/τ)² + ((μ − ν)/τ)² − 1] − log(σ/τ)`` in nats, elementwise."""
    ratio, shift = scale_p / scale_q, (loc_p - loc_q) / scale_q
    return 0.5 * (ratio**2 + shift**2 - 1) - jnp.log(ratio)


def normal_power(loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array, *, order: float, factor: float) -> Array:
    """Return ``factor · (∫ p^α q^{1−α} − 1)`` for normals, elementwise, or infinity where the integral diverges.

    With ``v = α τ² + (1 − α) σ²`` the integral is ``σ^{1−α} τ^α v^{−1/2} exp(−½ α(1−α)(μ − ν)²/v)`` if v > 0.
    """
    ratio, shift = scale_p / scale_q, (loc_p - loc_q) / scale_q  # in units of Q's standard deviation
    variance = order + (1 - order) * ratio**2
    finite = variance > 0
    variance = jnp.where(finite, variance, 1)
    log_integral = (1 - order) * jnp.log(ratio) - 0.5 * jnp.log(variance)
    log_integral = log_integral - 0.5 * order * (1 - order) * shift**2 / variance
    return jnp.where(finite, factor * jnp.expm1(jnp.where(finite, log_integral, 0)), jnp.inf)


def normal_total_variation(loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array) -> Array:
    """Return the total variation ``½ ∫ |p − q|`` of two normals, elementwise.

    The log ratio is a quadratic, so ``{p > q}`` lies between its two roots or outside them, and the difference
    of the probabilities of that set is the total variation. One root is at infinity if the scales are equal.
    The roots are held fixed in the gradient: there p = q, so that moving them changes nothing.
    """
    ratio, shift = scale_p / scale_q, (loc_p - loc_q) / scale_q
    # log p − log q = ½ (a z² + 2 b z + c) at x = loc_p + scale_p z
    a, b, c = ratio**2 - 1, shift * ratio, shift**2 - 2 * jnp.log(ratio)
    root = jnp.sqrt(shift**2 + 2 * a * jnp.log(ratio))  # of b² − a c, without the cancellation
    sum_ = -(b + jnp.where(b < 0, -root, root))
    first = sum_ / jnp.where(a == 0, jnp.finfo(a.dtype).tiny, a)
    second = c / jnp.where(sum_ == 0, 1, sum_)
    largest = jnp.finfo(a.dtype).max ** 0.25
    edges = [jax.lax.stop_gradient(loc_p + scale_p * jnp.clip(z, -largest, largest)) for z in (first, second)]

    def between(loc: Array, scale: Array) -> Array:
        low, high = (ndtr(jnp.clip((edge - loc) / scale, -FAR, FAR)) for edge in edges)
        return high - low

    return jnp.abs(between(loc_p, scale_p) - between(loc_q, scale_q))
