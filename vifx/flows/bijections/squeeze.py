"""Blocks of pixels as channels."""

from __future__ import annotations

__all__ = ["squeeze"]

from typing import Any

import jax.numpy as jnp

from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import checked


def squeeze() -> Bijection:
    """Make channels of blocks of 2×2 pixels: ``[examples, h, w, c] → [examples, h/2, w/2, 4c]``.

    It permutes the elements, so its log-determinant is 0 nats. The channels of a block come row by row:
    ``z[n, i, j, (2a + b)c + k] = x[n, 2i + a, 2j + b, k]``. ``invert(squeeze())`` makes pixels of channels.

    Raises:
      ValueError: from either direction, the event is not an image, its height or width is odd, or its number of
        channels is not a multiple of 4 on the way back.

    Reference: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.

    >>> import jax.numpy as jnp
    >>> z, _ = squeeze().forward({}, {}, jnp.arange(4.0).reshape(1, 2, 2, 1))
    >>> print(z)
    [[[[0. 1. 2. 3.]]]]
    """

    def init(_key: Key, _x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {}, {}

    def forward(_params: PyTree, _state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        if x.ndim != 4 or x.shape[1] % 2 or x.shape[2] % 2:
            raise ValueError(
                f"squeeze: forward needs images [examples, height, width, channels] of even height and width, got "
                f"{list(x.shape)}; pad or crop them."
            )
        examples, height, width, channels = x.shape
        z = x.reshape(examples, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return z.reshape(examples, height // 2, width // 2, 4 * channels), jnp.zeros(examples, x.dtype)

    def inverse(_params: PyTree, _state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        if z.ndim != 4 or z.shape[3] % 4:
            raise ValueError(
                f"squeeze: inverse needs images [examples, height, width, channels] with a multiple of 4 channels, "
                f"got {list(z.shape)}; it undoes forward, which makes four channels of one."
            )
        examples, height, width, channels = z.shape
        x = z.reshape(examples, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(examples, 2 * height, 2 * width, channels // 4), jnp.zeros(examples, z.dtype)

    return checked("squeeze", init, forward, inverse)
