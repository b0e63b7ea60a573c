"""A certificate: an upper bound of a network's Lipschitz constant, from its kernels."""

from __future__ import annotations

__all__ = ["lipschitz_bound"]

import math
from collections.abc import Mapping

import jax
import numpy as np

from vifx.checks import require_pair
from vifx.core.types import PyTree
from vifx.lipschitz.kernels import Where, floating, path_name
from vifx.lipschitz.linear_maps import Convolution, by_path

_ROUNDING = 1 + 1e-9  # more than a decomposition in double precision loses
_GRID = 16  # frequencies for each degree of the symbol: its maximum is then known within 2 %


def lipschitz_bound(
    params: PyTree, *, maps: Mapping[str, Convolution] | None = None, ignore: Where | None = None
) -> float:
    """Return C with ``‖f(x₁) − f(x₂)‖ ≤ C ‖x₁ − x₂‖``: the product ``Π ‖W‖₂`` over a network's layers.

    **What is covered**: chains in which each kernel is applied once, as a dense layer or as a convolution
    (strided, dilated, transposed, grouped; zero or circular padding), with biases, and with activations, poolings
    and reshapings that are 1-Lipschitz between them: ReLU, leaky ReLU, ELU, softplus, tanh, sigmoid, average
    pooling, maxima over windows that do not overlap, dropout in evaluation mode. Not GELU or SiLU (1.13 and 1.10
    each), and not repetition of pixels (2). The parameters do not show which functions lie between the layers: that
    is for the caller to know. What they do show, and what is not covered, is refused: scales of normalizations,
    tables of embeddings, attention's kernels of three axes, `networks.ResidualBlock`.

    A residual block ``x + g(x)`` has at most ``1 + C_g``. Multiply the parts by hand:
    ``lipschitz_bound(stem) * (1 + lipschitz_bound(block)) * lipschitz_bound(last)``.

    Dense kernels: the largest singular value in double precision, rounded up. Convolutions: the maximum over all
    frequencies θ of ``‖Σ_{u,v} k[u, v] e^{i(uθ₁ + vθ₂)}‖₂``, the norm on an infinite feature map, which no finite one
    exceeds; its maximum over a grid of frequencies is divided by ``cos(π/16)``, which covers the points between them.
    With `maps`, a stride above 1 is taken into account, by the kernel's phases; without, the bound is that of
    stride 1, which is larger. The bound is for exact arithmetic: differences of outputs in single precision have
    rounding errors of their own.

    >>> import numpy as np
    >>> chain = {"Dense_0": {"kernel": np.diag([2.0, 1.0]), "bias": np.ones(2)}, "Dense_1": {"kernel": np.eye(2)}}
    >>> lipschitz_bound(chain)
    2.0000...

    Args:
      params: one network's parameters, such as ``params["critic"]``; of a spectrally normalized one, the
        `normalized_params`.
      maps: how kernels of four axes are applied, by the path of the layer; of the `Convolution` the stride, the
        dilation and the direction count.
      ignore: says of a path, such as ``"Embed_0/embedding"``, whether that parameter is not part of the chain, because
        the bound is with respect to other inputs or the caller accounts for it.

    Raises:
      ValueError: if there is a parameter that is not covered, a kernel that is not finite, or no kernel.

    Reference: Sedghi et al., The Singular Values of Convolutional Layers, 2019; Pfister and Bresler, Bounding
    Multivariate Trigonometric Polynomials, 2019.
    """
    kernels = _chain(params, ignore)
    how = by_path(maps, [path for path, kernel in kernels.items() if kernel.ndim == 4], "lipschitz_bound")
    norms = [
        _dense(kernel) if kernel.ndim == 2 else _convolution(kernel, how.get(path)) for path, kernel in kernels.items()
    ]
    return math.prod(norms)


def _chain(params: PyTree, ignore: Where | None) -> dict[str, np.ndarray]:
    """Return the kernels in double precision, when everything else is a bias or ignored."""
    kernels = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_name(keys)
        name = path.rpartition("/")[2]
        if ignore is not None and ignore(path):
            continue
        if any(part.startswith("ResidualBlock") for part in path.split("/")):
            raise ValueError(
                f"lipschitz_bound: {path!r} lies in a residual block, which is not a chain; bound its branch by itself "
                "and multiply by 1 + that bound, or exclude it by ignore="
            )
        if name == "bias":
            continue
        if name != "kernel" or leaf.ndim not in (2, 4) or not floating(leaf):
            raise ValueError(
                f"lipschitz_bound: {path!r} of shape {np.shape(leaf)} is neither a bias nor the kernel of a dense "
                "layer or a convolution over images, so its effect is unknown; exclude it by ignore= and account for it"
            )
        kernels[path] = np.asarray(leaf).astype(np.float64)
        if not np.all(np.isfinite(kernels[path])):
            raise ValueError(f"lipschitz_bound: {path!r} must be finite, but has entries that are not")
    if not kernels:
        raise ValueError("lipschitz_bound: the parameters must have a kernel; give those of one network")
    return kernels


def _dense(kernel: np.ndarray) -> float:
    return float(np.linalg.norm(kernel, 2)) * _ROUNDING


def _convolution(kernel: np.ndarray, how: Convolution | None) -> float:
    """An upper bound of the norm of a convolution on any feature map."""
    if how is not None:
        if how.transpose:  # the adjoint of a convolution has the same norm
            kernel = kernel.swapaxes(2, 3)
        kernel = _phases(kernel, require_pair(how.stride, "stride"), require_pair(how.dilation, "dilation"))
    degrees = [size - 1 for size in kernel.shape[:2]]
    grid = [max(1, _GRID * degree) for degree in degrees]
    symbol = np.fft.fft2(kernel, grid, axes=(0, 1))[:, : grid[1] // 2 + 1]  # the other half is the conjugate
    if symbol.shape[2] < symbol.shape[3]:
        symbol = symbol.swapaxes(2, 3)
    # ‖symbol‖² is a maximum of trigonometric polynomials |⟨u, symbol v⟩|² of the kernel's degrees; one of degree d
    # that is at most 1 at N equally spaced points is at most 1 / cos(π d / N), in each of the two frequencies.
    largest = max(np.linalg.eigvalsh(row.conj().swapaxes(1, 2) @ row).max() for row in symbol)
    between = math.prod(math.cos(math.pi * degree / size) for degree, size in zip(degrees, grid, strict=True))
    return math.sqrt(max(largest, 0.0) / between) * _ROUNDING


def _phases(kernel: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int]) -> np.ndarray:
    """A strided convolution as one of stride 1 on the pixels' phases, side by side as channels."""
    if stride == (1, 1):
        return kernel  # dilation moves the frequencies alone
    taps = [(size - 1) * step + 1 for size, step in zip(kernel.shape[:2], dilation, strict=True)]
    blocks = [-(-size // step) for size, step in zip(taps, stride, strict=True)]
    spread = np.zeros((blocks[0] * stride[0], blocks[1] * stride[1], *kernel.shape[2:]))
    spread[: taps[0] : dilation[0], : taps[1] : dilation[1]] = kernel
    split = spread.reshape(blocks[0], stride[0], blocks[1], stride[1], *kernel.shape[2:])
    return split.transpose(0, 2, 1, 3, 4, 5).reshape(*blocks, -1, kernel.shape[3])
