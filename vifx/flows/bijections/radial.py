"""The radial flow: contraction or expansion around a point."""

from __future__ import annotations

__all__ = ["radial"]

import math
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import flattened, own_rows, rows_of
from vifx.flows.checked import checked

_SHIFT = math.log(math.e - 1)  # softplus(_SHIFT) = 1


def radial() -> Bijection:
    """Move points along the rays from a center c: ``z = x + β (x − c)/(α + r)``, ``r = ‖x − c‖``.

    With n elements, in nats, ``log|det ∂z/∂x| = (n − 1) log(1 + β/(α + r)) + log(1 + αβ/(α + r)²)``. It is invertible
    iff ``β > −α``, so ``α = exp(log_radius)`` and ``β = α (softplus(b + log(e − 1)) − 1)``: the published constraint
    with a shift that makes b = 0 the identity, from which it starts. Every value of the parameters is allowed.

    Both directions are in closed form and cheap: the inverse's radius is the positive root of a quadratic,
    ``r² + (α + β − ‖z − c‖) r = α ‖z − c‖``. A posterior uses ``flows.invert(flows.radial())``, whose samples have
    the published form.

    With `given`, c, log α and b have terms that are linear in it, zero at first; put a network before by
    `flows.conditioned`.

    Reference: Rezende & Mohamed, Variational Inference with Normalizing Flows, 2015, arXiv:1505.05770.
    """

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        size, dtype = x[0].size, x.dtype
        params = {
            "center": jax.random.normal(key, (size,), dtype),
            "log_radius": jnp.full((), 0.5 * math.log(size), dtype),
            "strength": jnp.zeros((), dtype),
        }
        parents = flattened(given, dtype)
        if parents is not None:
            params["given"] = jnp.zeros((parents.shape[1], size + 2), dtype)
        return params, {}

    def forward(params: PyTree, _state: PyTree, x: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows = rows_of(x)
        center, radius, slope = _settings(params, given, rows)
        away = rows - center
        distance = _norm(away)
        stretch = (distance + radius * slope) / (radius + distance)
        z = center + stretch[:, None] * away
        return z.reshape(x.shape), _log_det(distance, radius, slope, rows.shape[1])

    def inverse(params: PyTree, _state: PyTree, z: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows = rows_of(z)
        center, radius, slope = _settings(params, given, rows)
        away = rows - center
        end = _norm(away)
        linear = radius * slope - end
        larger = jnp.abs(linear) + jnp.sqrt(jnp.square(linear) + 4 * radius * end)
        distance = jnp.where(linear > 0, 2 * radius * end / larger, larger / 2)
        x = center + ((radius + distance) / (distance + radius * slope))[:, None] * away
        return x.reshape(z.shape), -_log_det(distance, radius, slope, rows.shape[1])

    return checked("radial", init, forward, inverse, scalars=True)


def _settings(params: PyTree, given: Any, rows: Array) -> tuple[Array, Array, Array]:
    """Per example: c, α, and the slope ``1 + β/α > 0`` at the center."""
    center, log_radius, strength = own_rows(params, ("center", "log_radius", "strength"), given, rows)
    slope = jnp.maximum(jax.nn.softplus(strength + _SHIFT), jnp.finfo(rows.dtype).eps)
    return center, jnp.exp(log_radius), slope


def _log_det(distance: Array, radius: Array, slope: Array, size: int) -> Array:
    """The determinant's two factors, each a quotient of sums of positive terms."""
    total = radius + distance
    across = jnp.log(distance + radius * slope) - jnp.log(total)
    along = jnp.log(jnp.square(distance) + 2 * radius * distance + jnp.square(radius) * slope) - 2 * jnp.log(total)
    return (size - 1) * across + along


def _norm(rows: Array) -> Array:
    """The Euclidean norm, with derivative 0 at 0."""
    square = jnp.sum(jnp.square(rows), axis=-1)
    usable = square > 0
    return jnp.where(usable, jnp.sqrt(jnp.where(usable, square, 1)), 0)
