"""Layers as linear maps of one example: a kernel read as a matrix, or as the convolution that it makes."""

from __future__ import annotations

__all__ = ["Convolution", "Linear", "Norm", "by_path", "convolution", "linear_maps", "reshaped"]

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from vifx.checks import require_choice, require_pair
from vifx.core.types import Array

Pair: TypeAlias = tuple[int, int]
Norm: TypeAlias = Literal["reshaped", "operator"]


class Convolution(NamedTuple):
    """How a network applies a kernel ``[height, width, channels, features]``; parameters alone do not tell.

    Attributes:
      size: height and width of the layer's input.
      stride: step between outputs; the upsampling factor if `transpose`.
      padding: ``"SAME"``, ``"VALID"`` or ``((low, high), (low, high))``: zeros around the input, spread if `transpose`.
      dilation: step between the taps of the kernel; 1 if `transpose`.
      transpose: whether it is a transposed convolution, as `jax.lax.conv_transpose` computes it.

    Example:
      >>> import jax.numpy as jnp
      >>> from vifx import lipschitz
      >>> params = {"Conv_0": {"kernel": jnp.ones((1, 1, 1, 1)) * 3}}
      >>> round(lipschitz.lipschitz_bound(params, maps={"Conv_0": Convolution((8, 8))}), 6)
      3.0
    """

    size: Pair
    stride: int | Pair = 1
    padding: Literal["SAME", "VALID"] | tuple[Pair, Pair] = "SAME"
    dilation: int | Pair = 1
    transpose: bool = False


class Linear(NamedTuple):
    """A map that is linear in its input and in its kernel: ``y = gather(x) W``, W the kernel as ``[rows, features]``.

    Attributes:
      input_shape: the shape of x.
      output_shape: the shape of y; its last axis is the features.
      gather: x to ``[positions, rows]``: what of x each position of y sees.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    gather: Callable[[Array], Array]

    def forward(self, kernel: Array, x: Array) -> Array:
        """Apply the map."""
        return jnp.matmul(self.gather(x), _matrix(kernel), precision="highest").reshape(self.output_shape)

    def adjoint(self, kernel: Array, y: Array) -> Array:
        """Map back to the input: for all x and y, ``⟨forward x, y⟩ = ⟨x, adjoint y⟩``."""
        spread = jax.linear_transpose(self.gather, jax.ShapeDtypeStruct(self.input_shape, kernel.dtype))
        rows = jnp.matmul(y.reshape(-1, kernel.shape[-1]), _matrix(kernel).T, precision="highest")
        return spread(rows)[0]

    def outer(self, kernel: Array, x: Array, y: Array) -> Array:
        """Return the gradient of ``⟨forward(x), y⟩`` with respect to the kernel, in its shape."""
        product = jnp.matmul(self.gather(x).T, y.reshape(-1, kernel.shape[-1]), precision="highest")
        return product.reshape(kernel.shape)


def _matrix(kernel: Array) -> Array:
    return kernel.reshape(-1, kernel.shape[-1])


def reshaped(shape: tuple[int, ...]) -> Linear:
    """Return a kernel's matrix ``[everything else, features]`` as a map: a dense layer, one patch of a convolution."""
    return Linear(shape[:-1], shape[-1:], lambda x: x.reshape(1, -1))


def convolution(shape: tuple[int, ...], how: Convolution) -> Linear:
    """Return the convolution with a kernel of this shape on one feature map.

    Raises:
      ValueError: if the kernel does not have four axes, or the convolution has no output.
    """
    if len(shape) != 4:
        raise ValueError(f"a Convolution needs a kernel [height, width, channels, features], but its shape is {shape}")
    stride, dilation, size = (
        require_pair(how.stride, "stride"),
        require_pair(how.dilation, "dilation"),
        require_pair(how.size, "size"),
    )
    if how.transpose and dilation != (1, 1):
        raise ValueError(f"a transposed Convolution must have dilation 1, but has {how.dilation}")
    if isinstance(how.padding, str) and how.padding not in ("SAME", "VALID"):
        raise ValueError(f"padding must be 'SAME', 'VALID' or ((low, high), (low, high)), got {how.padding!r}")
    extent = tuple((taps - 1) * step + 1 for taps, step in zip(shape[:2], dilation, strict=True))
    step, inside = ((1, 1), stride) if how.transpose else (stride, (1, 1))
    if not isinstance(how.padding, str):
        pads = how.padding
    elif how.transpose:
        pads = [_transposed_pads(taps, s, how.padding) for taps, s in zip(shape[:2], stride, strict=True)]
    else:
        pads = lax.padtype_to_pads(size, extent, stride, how.padding)
    grid = tuple(
        ((pixels - 1) * gap + 1 + low + high - width) // s + 1
        for pixels, gap, (low, high), width, s in zip(size, inside, pads, extent, step, strict=True)
    )
    if min(grid) < 1:
        raise ValueError(f"a kernel of extent {extent} has no output on a feature map of {size} with padding {pads}")

    def gather(x: Array) -> Array:
        border = [(low, high, gap - 1) for (low, high), gap in zip(pads, inside, strict=True)]
        x = lax.pad(x, jnp.zeros((), x.dtype), [*border, (0, 0, 0)])
        corners = [(u * dilation[0], v * dilation[1]) for u in range(shape[0]) for v in range(shape[1])]
        taps = [
            x[i : i + (grid[0] - 1) * step[0] + 1 : step[0], j : j + (grid[1] - 1) * step[1] + 1 : step[1]]
            for i, j in corners
        ]
        return jnp.concatenate(taps, axis=-1).reshape(grid[0] * grid[1], -1)

    return Linear((*size, shape[2]), (*grid, shape[3]), gather)


def _transposed_pads(taps: int, stride: int, padding: str) -> Pair:
    """The zeros around the spread input, by the conventions of `lax.conv_transpose`."""
    if padding == "SAME":
        total = taps + stride - 2
        low = taps - 1 if stride > taps - 1 else -(-total // 2)
    else:
        total = taps + stride - 2 + max(taps - stride, 0)
        low = taps - 1
    return low, total - low


def linear_maps(
    kernels: Mapping[str, Array], norm: Norm, maps: Mapping[str, Convolution] | None, function: str
) -> dict[str, Linear]:
    """Return, for each kernel by path, the map whose norm is used.

    Raises:
      ValueError: if `norm` is unknown, `maps` does not fit to it, or a kernel of more than two axes is not in `maps`.
    """
    require_choice(norm, ("reshaped", "operator"), f"{function}: norm")
    if norm == "reshaped":
        if maps:
            raise ValueError(f"{function}: maps= is for norm='operator', but norm is 'reshaped'; leave one of them out")
        return {path: reshaped(kernel.shape) for path, kernel in kernels.items()}
    how = by_path(maps, [path for path, kernel in kernels.items() if kernel.ndim == 4], function)
    missing = [path for path, kernel in kernels.items() if kernel.ndim > 2 and path not in how]
    if missing:
        raise ValueError(
            f"{function}: the operator norm of a convolution depends on its feature map, so maps= must have "
            f"{missing}; write maps={{{missing[0].rpartition('/')[0]!r}: Convolution((height, width), stride=...)}}"
        )
    return {
        path: convolution(kernel.shape, how[path]) if path in how else reshaped(kernel.shape)
        for path, kernel in kernels.items()
    }


def by_path(maps: Mapping[str, Convolution] | None, paths: list[str], function: str) -> dict[str, Convolution]:
    """Return `maps`, whose keys name layers or kernels, by the kernel's path.

    Raises:
      ValueError: if a key names no kernel of four axes.
    """
    layers = {path.rpartition("/")[0]: path for path in paths} | {path: path for path in paths}
    for name in maps or {}:
        if name not in layers:
            raise ValueError(
                f"{function}: maps= names {name!r}, which is not a convolution; there are: "
                f"{', '.join(repr(path.rpartition('/')[0]) for path in paths) or 'none'}"
            )
    return {layers[name]: how for name, how in (maps or {}).items()}
