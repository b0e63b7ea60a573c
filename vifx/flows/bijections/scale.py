"""A learned scale of every element, and a learned shift."""

from __future__ import annotations

__all__ = ["scale"]

import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def scale(*, shift: bool = False) -> Bijection:
    """Scale every element of the event: ``z = exp(s)·x`` (``+ t``), ``log|det ∂z/∂x| = Σ s`` in nats.

    Both start at zero, so that it starts as the identity. As the last layer with `shift` it gives the base a
    learned mean and standard deviation.

    Args:
      shift: whether a learned shift is added after scaling.

    Reference: Dinh, Krueger & Bengio (2015), arXiv:1410.8516.
    """

    def init(_key: Key, x: Array, _given: object) -> tuple[PyTree, PyTree]:
        zeros = jnp.zeros(x.shape[1:], x.dtype)
        return {"log_scale": zeros} | ({"shift": zeros} if shift else {}), {}

    def forward(params: PyTree, _state: PyTree, x: Array, _given: object, _key: Key | None) -> tuple[Array, Array]:
        z = x * jnp.exp(params["log_scale"])[None]
        z = z + params["shift"][None] if shift else z
        return z, jnp.broadcast_to(jnp.sum(params["log_scale"]), x.shape[:1])

    def inverse(params: PyTree, _state: PyTree, z: Array, _given: object, _key: Key | None) -> tuple[Array, Array]:
        z = z - params["shift"][None] if shift else z
        x = z * jnp.exp(-params["log_scale"])[None]
        return x, jnp.broadcast_to(-jnp.sum(params["log_scale"]), z.shape[:1])

    return checked("scale", init, forward, inverse, scalars=True)
