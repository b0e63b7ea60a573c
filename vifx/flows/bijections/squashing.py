"""The line onto a bounded interval, and nearly so."""

from __future__ import annotations

__all__ = ["leaky_tanh", "log_slope_of_tanh", "sigmoid", "tanh"]

import math

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, Bijection
from vifx.flows.bijections.pointwise import pointwise


def tanh() -> Bijection:
    """Map the line onto (−1, 1): ``z = tanh x``, ``log|det ∂z/∂x| = Σ log(1 − tanh² x)`` in nats.

    The values of a policy's actions have such a bound: with data in (−1, 1) it is ``flows.invert(flows.tanh())``.
    Where tanh is 1 up to rounding (|x| above 9 in single precision) z is the number below 1, the log-determinant is
    exact, and x cannot be found again; `leaky_tanh` can.

    >>> import jax.numpy as jnp
    >>> z, log_det = tanh().forward({}, {}, jnp.array([[0.0, 1.0]]))
    >>> [round(float(each), 4) for each in (*z[0], *log_det)]
    [0.0, 0.7616, -0.8676]
    """
    return pointwise("tanh", jnp.tanh, jnp.arctanh, log_slope=log_slope_of_tanh, image=(-1, 1))


def leaky_tanh(*, bound: float = 3.0) -> Bijection:
    """Squash the line by tanh up to a bound and linearly beyond: onto the whole line, with an inverse everywhere.

    ``z = tanh x`` for ``|x| ≤ b`` and ``z = sign(x)·(tanh b + (|x| − b)(1 − tanh² b))`` beyond. Value and
    derivative are continuous at ±b. ``log|det ∂z/∂x| = Σ log(1 − tanh² min(|x|, b))`` in nats.

    Args:
      bound: b, at most 6: there the slope is 2.5e-5, and a larger b leaves single precision too few digits.

    Raises:
      ValueError: `bound` is out of range.

    >>> import jax.numpy as jnp
    >>> z, log_det = leaky_tanh(bound=1.0).forward({}, {}, jnp.array([[0.5, 2.0]]))
    >>> [round(float(each), 4) for each in (*z[0], *log_det)]
    [0.4621, 1.1816, -1.1078]
    """
    require_number(bound, "leaky_tanh: bound", above=0, most=6)
    top, slope = math.tanh(bound), 1 / math.cosh(bound) ** 2

    def forward(x: Array) -> Array:
        within = jnp.clip(x, -bound, bound)
        return jnp.tanh(within) + slope * (x - within)

    def inverse(z: Array) -> Array:
        within = jnp.clip(z, -top, top)
        return jnp.arctanh(within) + (z - within) / slope

    return pointwise("leaky_tanh", forward, inverse, log_slope=lambda x: log_slope_of_tanh(jnp.clip(x, -bound, bound)))


def sigmoid() -> Bijection:
    """Map the line onto (0, 1): ``z = 1/(1 + exp(−x))``, ``log|det ∂z/∂x| = Σ log z(1 − z)`` in nats.

    The other direction, with a margin around [0, 1] for data that reach its ends, is `flows.logit`.

    >>> import jax.numpy as jnp
    >>> z, log_det = sigmoid().forward({}, {}, jnp.array([[0.0, 2.0]]))
    >>> [round(float(each), 4) for each in (*z[0], *log_det)]
    [0.5, 0.8808, -3.6402]
    """

    def inverse(z: Array) -> Array:
        return jnp.log(z) - jnp.log1p(-z)

    def log_slope(x: Array) -> Array:
        return jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)

    return pointwise("sigmoid", jax.nn.sigmoid, inverse, log_slope=log_slope, image=(0, 1))


def log_slope_of_tanh(x: Array) -> Array:
    """Return ``log(1 − tanh² x) = 2 (log 2 − |x| − log(1 + exp(−2|x|)))`` of each element, without cancellation."""
    size = jnp.abs(x)
    return 2 * (math.log(2) - size - jnp.log1p(jnp.exp(-2 * size)))
