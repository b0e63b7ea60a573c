"""Layers as matrices, from JAX's own convolutions."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from vifx.lipschitz import Convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
# name: kernel shape, how it is applied
CONVOLUTIONS = {
    "same": ((3, 3, 2, 3), Convolution((5, 6))),
    "valid": ((3, 2, 2, 3), Convolution((5, 6), padding="VALID")),
    "strided": ((4, 4, 2, 3), Convolution((6, 8), stride=2)),
    "odd strided": ((3, 3, 2, 3), Convolution((7, 5), stride=(2, 3))),
    "dilated": ((3, 3, 2, 3), Convolution((6, 6), dilation=2)),
    "dilated and strided": ((3, 3, 2, 3), Convolution((8, 7), stride=2, dilation=(1, 2))),
    "padded": ((3, 3, 2, 3), Convolution((4, 4), padding=((2, 1), (0, 3)))),
    "one pixel": ((1, 1, 2, 3), Convolution((4, 4))),
    "transposed": ((4, 4, 2, 3), Convolution((4, 5), stride=2, transpose=True)),
    "transposed by three": ((2, 5, 2, 3), Convolution((4, 3), stride=3, transpose=True)),
    "transposed valid": ((3, 3, 2, 3), Convolution((4, 3), stride=2, padding="VALID", transpose=True)),
}


def normal(seed, *shape, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def lax_convolution(kernel, x, how):
    """Feature maps ``[examples, height, width, channels]`` through `jax.lax`."""
    stride, dilation = np.broadcast_to(how.stride, 2).tolist(), np.broadcast_to(how.dilation, 2).tolist()
    padding = how.padding if isinstance(how.padding, str) else list(how.padding)
    if how.transpose:
        return lax.conv_transpose(x, kernel, stride, padding, dimension_numbers=LAYOUT)
    return lax.conv_general_dilated(x, kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=LAYOUT)


def as_matrix(kernel, how):
    """The convolution as a matrix ``[inputs, outputs]``: what it makes of each pixel and channel."""
    inputs = how.size[0] * how.size[1] * kernel.shape[2]
    basis = jnp.eye(inputs, dtype=kernel.dtype).reshape(inputs, *how.size, kernel.shape[2])
    return lax_convolution(kernel, basis, how).reshape(inputs, -1)


def svd_norm(matrix):
    return float(np.linalg.norm(np.asarray(matrix, np.float64), 2))
