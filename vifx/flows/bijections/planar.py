"""The planar flow: a shift in one direction by a function of another."""

from __future__ import annotations

__all__ = ["planar"]

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import flattened, own_rows, rows_of
from vifx.flows.bijections.root import increasing_root
from vifx.flows.checked import checked

_SHIFT = math.log(math.e - 1)  # softplus(_SHIFT) = 1


class _Plane(NamedTuple):
    """Per example: the shift û, the normal w, the offset b, and 1 + û·w > 0."""

    shift: Array
    normal: Array
    offset: Array
    slope: Array


def planar() -> Bijection:
    """Push the plane ``w·x + b = 0`` apart or together: ``z = x + û tanh(w·x + b)``.

    ``log|det ∂z/∂x| = log(1 + û·w sech²(w·x + b))`` in nats. The event's elements are one vector. It is invertible iff
    ``û·w > −1``, so the free parameter u is corrected along w, ``û = u + (m(w·u) − w·u) w/‖w‖²`` with
    ``m(a) = softplus(a + log(e − 1)) − 1 > −1``: the published map but for the shift, which makes m(0) = 0 and u = 0
    the identity, from which it starts. Every value of the parameters is allowed.

    `forward` is in closed form and cheap. `inverse` finds ``a = w·x + b`` as the one root of the increasing function
    ``a + û·w tanh(a) − (w·z + b)`` by bisection to machine precision and gets its derivatives by the implicit function
    theorem. So a density is fast, and a posterior, which samples, uses ``flows.invert(flows.planar())``.

    With `given`, u, w and b have terms that are linear in it, zero at first; put a network before by
    `flows.conditioned`.

    Reference: Rezende & Mohamed, Variational Inference with Normalizing Flows, 2015, arXiv:1505.05770.
    """

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        size, dtype = x[0].size, x.dtype
        params = {
            "shift": jnp.zeros(size, dtype),
            "normal": jax.random.normal(key, (size,), dtype) / math.sqrt(size),
            "offset": jnp.zeros((), dtype),
        }
        parents = flattened(given, dtype)
        if parents is not None:
            params["given"] = jnp.zeros((parents.shape[1], 2 * size + 1), dtype)
        return params, {}

    def forward(params: PyTree, _state: PyTree, x: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows = rows_of(x)
        plane = _plane(params, given, rows)
        distance = _dot(plane.normal, rows) + plane.offset
        z = rows + plane.shift * jnp.tanh(distance)[:, None]
        return z.reshape(x.shape), _log_det(plane.slope, distance)

    def inverse(params: PyTree, _state: PyTree, z: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows = rows_of(z)
        plane = _plane(params, given, rows)
        target = _dot(plane.normal, rows) + plane.offset
        beyond = target - (plane.slope - 1) * jnp.sign(target)
        other = jnp.where(target > 0, jnp.maximum(beyond, 0), jnp.minimum(beyond, 0))  # the root has the target's sign

        def excess(distance: Array) -> Array:
            return distance + (plane.slope - 1) * jnp.tanh(distance) - target

        distance = increasing_root(excess, jnp.minimum(target, other), jnp.maximum(target, other))
        x = rows - plane.shift * jnp.tanh(distance)[:, None]
        return x.reshape(z.shape), -_log_det(plane.slope, distance)

    return checked("planar", init, forward, inverse, scalars=True)


def _dot(one: Array, other: Array) -> Array:
    return jnp.sum(one * other, axis=-1)


def _plane(params: PyTree, given: Any, rows: Array) -> _Plane:
    shift, normal, offset = own_rows(params, ("shift", "normal", "offset"), given, rows)
    along, square = _dot(shift, normal), _dot(normal, normal)
    slope = jnp.maximum(jax.nn.softplus(along + _SHIFT), jnp.finfo(rows.dtype).eps)
    usable = square > 0
    correction = jnp.where(usable, slope - 1 - along, 0) / jnp.where(usable, square, 1)
    return _Plane(shift + correction[:, None] * normal, normal, offset, jnp.where(usable, slope, 1))


def _log_det(slope: Array, distance: Array) -> Array:
    """``log(1 + (slope − 1) sech²)`` as the logarithm of a sum of positive terms."""
    square = jnp.square(jnp.tanh(distance))
    return jnp.log(square + slope * (1 - square))
