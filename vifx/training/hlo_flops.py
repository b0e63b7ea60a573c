"""How many operations on floating-point numbers one instruction of a compiled program makes."""

from __future__ import annotations

__all__ = ["FREE", "Instruction", "Shape", "flops", "is_matmul", "is_opaque"]

import json
import math
import re
from typing import NamedTuple

import numpy as np

FREE = frozenset(
    (
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "partition-id"),
        *("replica-id", "domain", "token", "add-dependency"),
    )
)
"""Instructions that neither compute nor move anything."""
_SPACE = ("AllocateBuffer", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape")
"""Calls that compute nothing."""
_ARITHMETIC = frozenset(
    (
        *("add", "subtract", "multiply", "divide", "maximum", "minimum", "negate", "abs", "power", "remainder", "sign"),
        *("exponential", "exponential-minus-one", "log", "log-plus-one", "tanh", "tan", "logistic", "sqrt", "rsqrt"),
        *("cbrt", "sine", "cosine", "atan2", "erf", "floor", "ceil", "round-nearest-even", "round-nearest-afz"),
        *("clamp", "map"),
    )
)
_MATMULS = ("dot", "convolution")
_GEMM = re.compile(r"__cublas\$|__triton_gemm|__onednn\$matmul")
_CONV = re.compile(r"__cudnn\$conv(\w*)")
_BITS = re.compile(r"\d+")


class Shape(NamedTuple):
    """The element type and the dimensions of an array.

    Attributes:
      dtype: such as ``"f32"``.
      dims: its dimensions.
    """

    dtype: str
    dims: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        bits = (
            8 if self.dtype == "pred" else 0 if self.dtype in ("token", "opaque") else int(_BITS.findall(self.dtype)[0])
        )
        return -(-self.elements * bits // 8)

    @property
    def floating(self) -> bool:
        """Whether they are floating-point or complex numbers."""
        return self.dtype[0] in "fc" or self.dtype.startswith("bf")


class Instruction(NamedTuple):
    """One instruction of a compiled program.

    Attributes:
      name: its name.
      opcode: such as ``"dot"``.
      shapes: of its result, one by one if that is a tuple.
      operands: the names of what it reads; of a parameter and a constant, nothing.
      attributes: the rest of its text.
      root: whether its result is that of its computation.
      number: of a parameter, which one it is; of a constant, its value if that is an integer.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    attributes: str
    root: bool
    number: int | None = None

    @property
    def bytes(self) -> int:
        """Bytes of the result."""
        return sum(shape.bytes for shape in self.shapes)

    @property
    def constant(self) -> int | None:
        """Of an integer constant, its value."""
        return self.number if self.opcode == "constant" else None

    @property
    def target(self) -> str:
        """Of a library call, the name of what is called."""
        found = re.search(r'custom_call_target="([^"]*)"', self.attributes)
        return found[1] if found else ""


def is_matmul(each: Instruction) -> bool:
    """Return whether an instruction is a matrix product or a convolution."""
    return each.opcode in _MATMULS or bool(_GEMM.search(each.target) or _CONV.search(each.target))


def is_opaque(each: Instruction) -> bool:
    """Return whether an instruction calls a library that computes what cannot be told from its name."""
    return each.opcode == "custom-call" and not is_matmul(each) and each.target not in _SPACE


def flops(each: Instruction, operands: list[Instruction]) -> float:
    """Return the operations of one instruction.

    A matrix product has ``2 m n k``, a convolution twice the products of a pixel and a weight that are not with padding
    or with the zeros of a dilation, a reduction one for each element that it reads, and anything else of floating-point
    numbers one for each element of its result.
    """
    if not each.shapes or not each.shapes[0].floating:
        return 0.0
    result = each.shapes[0]
    if each.opcode == "dot" or _GEMM.search(each.target):
        return 2.0 * result.elements * _contracted(each, operands[0].shapes[0])
    if each.opcode == "convolution":
        return _convolution(each, result, operands[0].shapes[0], operands[1].shapes[0])
    if found := _CONV.search(each.target):
        return _library_convolution(found[1], each, result, operands)
    if each.opcode in ("reduce", "scatter"):
        read = operands[: len(operands) // 2] if each.opcode == "reduce" else operands[-1:]
        return float(sum(operand.shapes[0].elements for operand in read))
    if each.opcode in ("reduce-window", "select-and-scatter"):
        window = re.search(r"size=([\dx]+)", each.attributes)
        return float(result.elements * math.prod(map(int, window[1].split("x"))) if window else result.elements)
    return float(result.elements) if each.opcode in _ARITHMETIC else 0.0


def _contracted(each: Instruction, left: Shape) -> int:
    """Return the product of the dimensions that a matrix product sums over."""
    if found := re.search(r"lhs_contracting_dims=\{([\d,]*)\}", each.attributes):
        dims = [int(dim) for dim in found[1].split(",") if dim]
    elif found := re.search(r'"lhs_contracting_dimensions":(\[[^\]]*\])', each.attributes):
        dims = [int(dim) for dim in json.loads(found[1])]
    else:
        dims = [len(left.dims) - 1]  # of a library's plain product of two matrices
    return math.prod(left.dims[dim] for dim in dims)


def _convolution(each: Instruction, result: Shape, image: Shape, kernel: Shape) -> float:
    found = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", each.attributes)
    if found is None:
        return 2.0 * result.elements * math.prod(kernel.dims[:-1])
    left, right, out = found.groups()
    batches = re.search(r"batch_group_count=(\d+)", each.attributes)
    groups = int(batches[1]) if batches else 1
    pairs = 1
    window = _window(each.attributes, sum(letter.isdigit() for letter in left))
    for i, (stride, low, inflate, dilate) in enumerate(window):
        spatial = str(i)
        size = image.dims[left.index(spatial)]
        place = np.arange(result.dims[out.index(spatial)])[:, None] * stride - low
        place = place + np.arange(kernel.dims[right.index(spatial)]) * dilate
        pairs *= int(np.sum((place >= 0) & (place < (size - 1) * inflate + 1) & (place % inflate == 0)))
    features = kernel.dims[right.index("i")] * result.dims[out.index("f")]
    return 2.0 * pairs * features * image.dims[left.index("b")] / groups


def _window(attributes: str, rank: int) -> list[tuple[int, int, int, int]]:
    """Return stride, low padding, and dilations of image and kernel, for each spatial dimension of a convolution."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    fields = dict(part.split("=") for part in found[1].split()) if found else {}

    def each(name: str, otherwise: str) -> list[str]:
        return fields[name].split("x") if name in fields else [otherwise] * rank

    pads = [int(pad.partition("_")[0]) for pad in each("pad", "0_0")]
    parts = zip(each("stride", "1"), pads, each("lhs_dilate", "1"), each("rhs_dilate", "1"), strict=True)
    return [(int(stride), low, int(inflate), int(dilate)) for stride, low, inflate, dilate in parts]


def _library_convolution(kind: str, each: Instruction, result: Shape, operands: list[Instruction]) -> float:
    """Return the operations of a convolution of cuDNN, padding included: each output pixel with each weight."""
    found = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", each.attributes)
    first, second = (operand.shapes[0] for operand in operands[:2])
    output, kernel = {"BackwardInput": (first, second), "BackwardFilter": (second, result)}.get(kind, (result, second))
    if found is None:
        return 0.0
    weights = math.prod(size for size, letter in zip(kernel.dims, found[2], strict=True) if letter != "o")
    return 2.0 * output.elements * weights
