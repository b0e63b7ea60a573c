"""The line onto the positive numbers, and powers of them."""

from __future__ import annotations

__all__ = ["exp", "power", "softplus"]

import math

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, Bijection
from vifx.flows.bijections.pointwise import pointwise

_POSITIVE = (0.0, math.inf)


def exp() -> Bijection:
    """Map the line onto the positive numbers: ``z = exp x``, ``log|det ∂z/∂x| = Σ x`` in nats.

    For positive data it is ``flows.invert(flows.exp())``, the logarithm.

    >>> import jax.numpy as jnp
    >>> z, log_det = exp().forward({}, {}, jnp.array([[0.0, 1.0]]))
    >>> [round(float(each), 4) for each in (*z[0], *log_det)]
    [1.0, 2.7183, 1.0]
    """
    return pointwise("exp", jnp.exp, jnp.log, log_slope=lambda x: x, image=_POSITIVE)


def softplus() -> Bijection:
    """Map the line onto the positive numbers: ``z = log(1 + exp x)``, ``log|det ∂z/∂x| = Σ log σ(x)`` in nats.

    It is x itself for large x, where `exp` is not. For positive data it is ``flows.invert(flows.softplus())``.

    >>> import jax.numpy as jnp
    >>> z, log_det = softplus().forward({}, {}, jnp.array([[0.0, 20.0]]))
    >>> [round(float(each), 4) for each in (*z[0], *log_det)]
    [0.6931, 20.0, -0.6931]
    """

    def inverse(z: Array) -> Array:
        return z + jnp.log(-jnp.expm1(-z))

    return pointwise("softplus", jax.nn.softplus, inverse, log_slope=jax.nn.log_sigmoid, image=_POSITIVE)


def power(exponent: float) -> Bijection:
    """Raise positive numbers to a power: ``z = x^p``, ``log|det ∂z/∂x| = Σ [log|p| + (p − 1) log x]`` in nats.

    Args:
      exponent: p, not 0: ½ for square roots, −1 for reciprocals.

    Raises:
      ValueError: `exponent` is 0 or not finite; from the bijection, values that are not positive.

    >>> import jax.numpy as jnp
    >>> z, log_det = power(0.5).forward({}, {}, jnp.array([[4.0, 9.0]]))
    >>> print(z, jnp.exp(-log_det))
    [[2. 3.]] [24.]
    """
    require_number(exponent, "power: exponent")
    if exponent == 0:
        raise ValueError("power: exponent must not be 0, since x⁰ is 1 for every x; the logarithm is invert(exp()).")

    def log_slope(x: Array) -> Array:
        return math.log(abs(exponent)) + (exponent - 1) * jnp.log(x)

    return pointwise(
        "power",
        lambda x: x**exponent,
        lambda z: z ** (1 / exponent),
        log_slope=log_slope,
        domain=_POSITIVE,
        image=_POSITIVE,
    )
