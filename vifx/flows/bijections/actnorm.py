"""A scale and a shift for each channel, set by the first batch."""

from __future__ import annotations

__all__ = ["actnorm", "standardizing"]

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.checks import require_number
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def actnorm(*, floor: float | None = None) -> Bijection:
    """Normalize each channel (the last axis): ``z = (x − m) / s``, with ``m`` and ``s`` of the first batch.

    ``log|det ∂z/∂x| = −positions · Σ_c log s_c`` in nats, with as many positions as the event has elements in a
    channel: one for vectors, height · width for images. `init` sets ``m`` to the mean and ``s`` to the standard
    deviation over the examples and positions of its batch; from then on both are parameters like others, and do not
    depend on the batch.

    A channel whose variance is zero (up to rounding) or not finite cannot be normalized. That is an error where the
    data can be seen; where they cannot, since `init` is traced (under `jax.jit`, in the scan of `stack`), the
    channel's ``log s`` becomes NaN, and with it the first loss. It gets a scale only if `floor` sets one.

    Args:
      floor: the smallest ``s`` that the first batch may set, for data with constant channels; None for none.

    Raises:
      ValueError: `floor` is not positive and finite; from `init`, a channel without variance.

    Reference: Kingma & Dhariwal (2018), arXiv:1807.03039.

    >>> import jax, jax.numpy as jnp
    >>> bijection = actnorm()
    >>> params, state = bijection.init(jax.random.key(0), jnp.array([[1.0], [5.0]]))
    >>> z, log_det = bijection.forward(params, state, jnp.array([[1.0], [5.0], [7.0]]))
    >>> print(z[:, 0], jnp.exp(log_det))
    [-1.  1.  2.] [0.5 0.5 0.5]
    """
    if floor is not None:
        require_number(floor, "actnorm: floor", above=0, hint="None for no floor")

    def init(_key: Key, x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        flat = x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)
        mean = jnp.mean(flat, axis=0)
        scale = jnp.sqrt(jnp.mean((flat - mean[None]) ** 2, axis=0))
        if floor is not None:
            scale = jnp.maximum(scale, jnp.asarray(floor, x.dtype))
        # The mean of a constant channel is rounded, so that its variance need not be zero exactly.
        rounding = 8 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(flat), axis=0)
        valid = (scale < jnp.inf) & (scale > (0 if floor is not None else rounding))
        if not isinstance(x, Tracer):
            _check_variance(np.asarray(valid), np.asarray(scale))
        log_scale = jnp.where(valid, jnp.log(scale), jnp.asarray(jnp.nan, x.dtype))
        return {"mean": mean, "log_scale": log_scale}, {}

    return standardizing("actnorm", init)


def standardizing(name: str, init: Callable[[Key, Array, Any], tuple[PyTree, PyTree]]) -> Bijection:
    """Return ``z = (x − m) / s`` with a mean and a scale for each channel, the last axis.

    Args:
      init: makes the parameters ``{"mean": m, "log_scale": log s}``, ``[channels]`` each.
    """

    def forward(params: PyTree, _state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        shape = (1,) * (x.ndim - 1) + (-1,)
        z = (x - params["mean"].reshape(shape)) * jnp.exp(-params["log_scale"]).reshape(shape)
        return z, -_log_det(params, x)

    def inverse(params: PyTree, _state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        shape = (1,) * (z.ndim - 1) + (-1,)
        x = z * jnp.exp(params["log_scale"]).reshape(shape) + params["mean"].reshape(shape)
        return x, _log_det(params, z)

    return checked(name, init, forward, inverse, scalars=True)


def _log_det(params: PyTree, x: Array) -> Array:
    positions = math.prod(x.shape[1:-1])
    return jnp.broadcast_to(positions * jnp.sum(params["log_scale"]), x.shape[:1])


def _check_variance(valid: np.ndarray, scale: np.ndarray) -> None:
    if valid.all():
        return
    channels = np.flatnonzero(~valid)
    names = ", ".join(map(str, channels[:8])) + (", …" if len(channels) > 8 else "")
    raise ValueError(
        f"actnorm: channel {names} of {len(valid)} has no finite positive variance in the first batch (the standard "
        f"deviation of channel {channels[0]} is {scale[channels[0]]}); dequantize the data "
        "(vifx.data.dequantize), drop constant features, initialize on more examples, or give floor=."
    )
