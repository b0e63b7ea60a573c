"""Data in [0, 1] onto the real line."""

from __future__ import annotations

__all__ = ["logit"]

import math
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import summed
from vifx.flows.bijections.interval import require_inside
from vifx.flows.checked import checked


def logit(*, alpha: float = 0.05) -> Bijection:
    """Take data in [0, 1] to the real line: ``z = log u − log(1 − u)`` with ``u = α + (1 − 2α) x``.

    ``log|det ∂z/∂x| = Σ [log(1 − 2α) − log u − log(1 − u)]`` in nats, summed over the event. ``α > 0`` keeps the
    logits of 0 and 1 finite. The inverse is ``x = (σ(z) − α) / (1 − 2α)``, which for large ``|z|`` leaves [0, 1] by
    less than ``m = α / (1 − 2α)``: clip samples that must not.

    Data outside of ``(−m, 1 + m)``, where samples can be, have no logit. That is an error where they can be seen; under
    `jax.jit` they get ``z = 0`` with ``log_det = −∞``, so that their density is zero.

    Args:
      alpha: α, at least 0 and less than ½; with 0 the data must be inside of (0, 1).

    Raises:
      ValueError: `alpha` is out of range; from `forward`, data that have no logit.

    Reference: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.

    >>> import jax.numpy as jnp
    >>> z, log_det = logit(alpha=0.25).forward({}, {}, jnp.array([[0.5, 1.0]]))
    >>> [round(float(each), 4) for each in (*z[0], jnp.exp(log_det[0]))]
    [0.0, 1.0986, 5.3333]
    """
    require_number(alpha, "logit: alpha", least=0, below=0.5)
    slope = 1 - 2 * alpha

    def init(_key: Key, _x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {}, {}

    def forward(_params: PyTree, _state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        _check_range(x, alpha / slope)
        u, rest = alpha + slope * x, alpha + slope * (1 - x)
        inside = (u > 0) & (rest > 0)
        low, high = (jnp.log(jnp.where(inside, part, 0.5)) for part in (u, rest))  # log u and log(1 − u)
        return low - high, summed(jnp.where(inside, math.log(slope) - low - high, -jnp.inf))

    def inverse(_params: PyTree, _state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        low, high = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
        return (jax.nn.sigmoid(z) - alpha) / slope, summed(low + high - math.log(slope))

    return checked("logit", init, forward, inverse, scalars=True)


def _check_range(x: Array, margin: float) -> None:
    interval = f"[0, 1], and exactly in ({-margin:g}, {1 + margin:g})" if margin else "(0, 1)"
    require_inside(
        x,
        -margin,
        1 + margin,
        f"logit: forward needs data in {interval}",
        "scale them first, (x + u) / 256 for 8-bit pixels (vifx.data.dequantize)",
    )
