"""One convolution for every platform: XLA's own on accelerators, matrix products on CPUs.

XLA's CPU back end computes the weight gradient of a convolution some forty times slower inside `lax.scan`
than outside, and that of a transposed convolution slowly everywhere. Here a CPU gets the same map as slices,
one matrix product and pads, whose derivatives of every order and mode are again slices, products and pads.

The form is chosen when the program is traced, by the default device. That is a matter of speed alone, since
both forms compute the same map anywhere; a choice at run time (`lax.platform_dependent`) would make
differentiation keep the residuals of both.
"""

from __future__ import annotations

__all__ = ["Conv", "ConvTranspose", "convolve", "convolve_transpose", "depth_to_space", "space_to_depth"]

import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

from vifx.checks import require_pair
from vifx.core.types import Array
from vifx.loops import on_cpu

Padding: TypeAlias = Literal["SAME", "VALID"] | Sequence[tuple[int, int]]
Form: TypeAlias = Literal["matmul", "xla"]
Pair: TypeAlias = tuple[int, int]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Array,
    kernel: Array,
    *,
    stride: int | Pair = 1,
    padding: Padding = "SAME",
    dilation: int | Pair = 1,
    form: Form | None = None,
) -> Array:
    """Convolve images with a kernel, as `jax.lax.conv_general_dilated` does.

    ``y[n, i, j, o] = Σ_{u,v,c} x[n, s i + d u − l, s j + d v − l, c] k[u, v, c, o]`` with s the stride, d the
    dilation, l the low padding, and x zero outside.

    Args:
      x: images ``[examples, height, width, channels]``.
      kernel: weights ``[height, width, channels, features]``.
      stride: step between outputs, in pixels.
      padding: ``"SAME"`` (height / stride, rounded up), ``"VALID"`` (none) or ``((low, high), (low, high))``.
      dilation: step between the taps of the kernel, in pixels.
      form: ``"matmul"`` or ``"xla"``; None chooses by the default device.

    Raises:
      ValueError: if shapes, strides, dilations or padding do not fit.
    """
    stride, dilation = require_pair(stride, "stride"), require_pair(dilation, "dilation")
    _check(x, kernel, padding)
    extent = tuple((size - 1) * step + 1 for size, step in zip(kernel.shape[:2], dilation, strict=True))
    pads = lax.padtype_to_pads(x.shape[1:3], extent, stride, padding) if isinstance(padding, str) else padding
    if _form(form) == "xla":
        return lax.conv_general_dilated(x, kernel, stride, list(pads), rhs_dilation=dilation, dimension_numbers=_LAYOUT)
    sizes = [
        (size + sum(pad) - width) // step + 1
        for size, pad, width, step in zip(x.shape[1:3], pads, extent, stride, strict=True)
    ]
    if min(sizes) < 1:
        raise ValueError(
            f"x of shape {x.shape} padded by {pads} is smaller than the kernel's extent {extent}; pad more"
        )
    # Exactly what the taps reach: a negative pad crops.
    reach = [(size - 1) * step + width for size, step, width in zip(sizes, stride, extent, strict=True)]
    x = _padded(x, [(low, whole - low - size) for (low, _), whole, size in zip(pads, reach, x.shape[1:3], strict=True)])
    if (
        stride != (1, 1)
        and dilation == (1, 1)
        and not any(k % s for k, s in zip(kernel.shape[:2], stride, strict=True))
    ):
        # Blocks of s × s pixels as channels: few long slices instead of many short ones.
        taps = [k // s for k, s in zip(kernel.shape[:2], stride, strict=True)]
        kernel = kernel.reshape(taps[0], stride[0], taps[1], stride[1], *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
        x, kernel, stride = space_to_depth(x, stride), kernel.reshape(*taps, -1, kernel.shape[-1]), (1, 1)
    starts = [(u * dilation[0], v * dilation[1]) for u in range(kernel.shape[0]) for v in range(kernel.shape[1])]
    ends = [(i + (sizes[0] - 1) * stride[0] + 1, j + (sizes[1] - 1) * stride[1] + 1) for i, j in starts]
    windows = list(zip(starts, ends, strict=True))
    features = kernel.shape[-1]
    if stride == (1, 1) and 8 * features <= x.shape[-1]:
        # Few features: multiply first, since the products are then smaller than the patches would be.
        matrix = jnp.moveaxis(kernel, 2, 0).reshape(x.shape[-1], -1)
        products = jnp.split(_product(x, matrix), len(windows), axis=-1)
        return reduce(operator.add, [y[:, i:k, j:m] for y, ((i, j), (k, m)) in zip(products, windows, strict=True)])
    patches = [x[:, i : k : stride[0], j : m : stride[1]] for (i, j), (k, m) in windows]
    return _product(jnp.concatenate(patches, axis=-1), kernel.reshape(-1, features))


def convolve_transpose(
    x: Array,
    kernel: Array,
    *,
    stride: int | Pair = 1,
    padding: Padding = "SAME",
    form: Form | None = None,
) -> Array:
    """Convolve images upwards, as `jax.lax.conv_transpose` does.

    ``y[n, i, j, o] = Σ x[n, a, b, c] k[u, v, c, o]`` over c and all ``s a + l − u = i``, ``s b + l − v = j``:
    a convolution of the images spread with s − 1 zeros between pixels and l zeros before them.

    Args:
      x: images ``[examples, height, width, channels]``.
      kernel: weights ``[height, width, channels, features]``.
      stride: upsampling factor s.
      padding: ``"SAME"`` (height · stride), ``"VALID"`` (every output that x touches), or the zeros
        ``((low, high), (low, high))`` around the spread image.
      form: ``"matmul"`` or ``"xla"``; None chooses by the default device.

    Raises:
      ValueError: if shapes, strides or padding do not fit.
    """
    stride = require_pair(stride, "stride")
    _check(x, kernel, padding)
    if _form(form) == "xla":
        pads = padding if isinstance(padding, str) else list(padding)
        return lax.conv_transpose(x, kernel, stride, pads, dimension_numbers=_LAYOUT)
    if isinstance(padding, str):
        low, high = zip(*map(_transposed_pads, kernel.shape[:2], stride, (padding, padding)), strict=True)
    else:
        low, high = zip(*padding, strict=True)
    # Blocks of s × s outputs are the channels of an ordinary convolution whose kernel is folded likewise, its first
    # taps zero where s does not divide its size. Of the blocks that x touches, the padding says which pixels to keep.
    excess = [-size % step for size, step in zip(kernel.shape[:2], stride, strict=True)]
    whole = lax.pad(kernel, jnp.zeros((), kernel.dtype), (*((zeros, 0, 0) for zeros in excess), (0, 0, 0), (0, 0, 0)))
    taps = [size // step for size, step in zip(whole.shape[:2], stride, strict=True)]
    folded = whole.reshape(taps[0], stride[0], taps[1], stride[1], *kernel.shape[2:])[:, ::-1, :, ::-1]
    folded = folded.transpose(0, 2, 4, 1, 3, 5).reshape(*taps, kernel.shape[2], -1)
    around = [(size - 1, size - 1) for size in taps]
    y = depth_to_space(convolve(x, folded, padding=around, form="matmul"), stride)
    sides = zip(kernel.shape[:2], low, high, excess, strict=True)
    return _padded(y, [(before - size + 1, after - size + 1 - zeros) for size, before, after, zeros in sides])


def _product(x: Array, matrix: Array) -> Array:
    """``x @ matrix``, with a gradient for the matrix in the form whose product is twice as fast on CPUs.

    The barrier keeps the compiler from undoing the transposition: ``yᵀ x`` reads both operands along their rows,
    where the equal ``(xᵀ y)ᵀ`` reads down their columns.
    """
    transposed = lax.optimization_barrier(matrix.T)
    return lax.dot_general(x, transposed, (((x.ndim - 1,), (1,)), ((), ())))


def _padded(x: Array, pads: Sequence[Pair]) -> Array:
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)))


def space_to_depth(x: Array, stride: Pair) -> Array:
    """``[n, h, w, c] → [n, h/s, w/s, s² c]``."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // stride[0], stride[0], width // stride[1], stride[1], channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // stride[0], width // stride[1], -1)


def depth_to_space(x: Array, stride: Pair) -> Array:
    """``[n, h, w, s² c] → [n, s h, s w, c]``."""
    n, height, width, _ = x.shape
    x = x.reshape(n, height, width, *stride, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height * stride[0], width * stride[1], -1)


def _transposed_pads(width: int, stride: int, padding: str) -> Pair:
    """The zeros around the spread image, by the conventions of `lax.conv_transpose`."""
    if padding == "SAME":
        total = width + stride - 2
        low = width - 1 if stride > width - 1 else math.ceil(total / 2)
    else:
        total = width + stride - 2 + max(width - stride, 0)
        low = width - 1
    return low, total - low


def _form(form: Form | None) -> Form:
    if form is not None:
        return form
    return "matmul" if on_cpu() else "xla"


def _check(x: Array, kernel: Array, padding: Padding) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            "x must be [examples, height, width, channels] and kernel [height, width, channels, features], "
            f"but the shapes are {x.shape} and {kernel.shape}"
        )
    if isinstance(padding, str) and padding not in ("SAME", "VALID"):
        raise ValueError(f"padding must be 'SAME', 'VALID' or ((low, high), (low, high)), got {padding!r}")


class Conv(nn.Module):
    """`convolve` with a learned kernel and bias: ``[examples, h, w, c] → [examples, h/s, w/s, features]``.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.
      stride: step between outputs.
      padding: as in `convolve`.
      dilation: step between the taps of the kernel.
      use_bias: add a learned vector, initially zero.
      kernel_init: initializer of the kernel; LeCun's normal by default, He's for deep ReLU networks.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = Conv(16, 3, stride=2)
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 8, 8, 3)))
      >>> result.shape
      (4, 4, 4, 16)
    """

    features: int
    kernel_size: int | Pair = 3
    stride: int | Pair = 1
    padding: Padding = "SAME"
    dilation: int | Pair = 1
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve images, in the common dtype of the images and the parameters."""
        shape = (*require_pair(self.kernel_size, "kernel_size"), x.shape[-1], self.features)
        x, kernel, bias = _parameters(self, x, shape)
        y = convolve(x, kernel, stride=self.stride, padding=self.padding, dilation=self.dilation)
        return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


class ConvTranspose(nn.Module):
    """`convolve_transpose` with a learned kernel and bias: ``[examples, h, w, c] → [examples, s h, s w, features]``.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel; a multiple of the stride avoids checkerboards.
      stride: upsampling factor.
      padding: as in `convolve_transpose`.
      use_bias: add a learned vector, initially zero.
      kernel_init: initializer of the kernel.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = ConvTranspose(3)
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 4, 4, 16)))
      >>> result.shape
      (4, 8, 8, 3)
    """

    features: int
    kernel_size: int | Pair = 4
    stride: int | Pair = 2
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Convolve images upwards, in the common dtype of the images and the parameters."""
        shape = (*require_pair(self.kernel_size, "kernel_size"), x.shape[-1], self.features)
        x, kernel, bias = _parameters(self, x, shape)
        y = convolve_transpose(x, kernel, stride=self.stride, padding=self.padding)
        return y if bias is None else y + jnp.broadcast_to(bias, y.shape)


def _parameters(module: Conv | ConvTranspose, x: Array, shape: tuple[int, ...]) -> tuple[Array, Array, Array | None]:
    """Declare the kernel and the bias, and bring them and the images to one dtype."""
    kernel = module.param("kernel", module.kernel_init, shape)
    bias = module.param("bias", nn.initializers.zeros_init(), shape[-1:]) if module.use_bias else None
    x, kernel, bias = promote_dtype(x, kernel, bias)
    return x, kernel, bias
