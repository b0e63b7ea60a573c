"""Layers as matrices, by differentiation of JAX's own convolutions."""

from __future__ import annotations

import jax
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
    """One example through `jax.lax`."""
    stride, dilation = np.broadcast_to(how.stride, 2).tolist(), np.broadcast_to(how.dilation, 2).tolist()
    padding = how.padding if isinstance(how.padding, str) else list(how.padding)
    if how.transpose:
        return lax.conv_transpose(x[None], kernel, stride, padding, dimension_numbers=LAYOUT)[0]
    return lax.conv_general_dilated(x[None], kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=LAYOUT)[
        0
    ]


def as_matrix(kernel, how):
    """The convolution as a matrix ``[outputs, inputs]``."""
    x = jnp.zeros((*how.size, kernel.shape[2]), kernel.dtype)
    jacobian = jax.jacobian(lambda x: lax_convolution(kernel, x, how).reshape(-1))(x)
    return jacobian.reshape(jacobian.shape[0], -1)


def svd_norm(matrix):
    return float(np.linalg.norm(np.asarray(matrix, np.float64), 2))
