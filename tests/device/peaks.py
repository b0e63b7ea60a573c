"""What devices can do at most, and how many operations a program asks for."""

from __future__ import annotations

import math
from types import MappingProxyType

import jax

# Dense products in TFLOP/s, bfloat16 and float32 as JAX makes them unless told otherwise: TF32 on GPUs since Ampere,
# passes of bfloat16 on TPUs. By what `jax.Device.device_kind` begins with; the longest that fits counts.
PEAKS = MappingProxyType(
    {
        "NVIDIA H200": (989.5, 494.7, "NVIDIA H200 Tensor Core GPU datasheet, SXM, without sparsity"),
        "NVIDIA H100 80GB HBM3": (989.5, 494.7, "NVIDIA H100 Tensor Core GPU datasheet, SXM, without sparsity"),
        "NVIDIA H100 PCIe": (756.0, 378.0, "NVIDIA H100 Tensor Core GPU datasheet, PCIe, without sparsity"),
        "NVIDIA A100": (312.0, 156.0, "NVIDIA A100 Tensor Core GPU datasheet, without sparsity"),
        "NVIDIA L40S": (362.0, 183.0, "NVIDIA L40S datasheet, without sparsity"),
        "NVIDIA L4": (121.0, 60.0, "NVIDIA L4 Tensor Core GPU datasheet, half of the figures with sparsity"),
        "NVIDIA A10G": (70.0, 35.0, "NVIDIA A10G datasheet, without sparsity"),
        "TPU v4": (275.0, 275.0, "cloud.google.com/tpu/docs/v4"),
        "TPU v5 lite": (197.0, 197.0, "cloud.google.com/tpu/docs/v5e"),
        "TPU v5": (459.0, 459.0, "cloud.google.com/tpu/docs/v5p"),
        "TPU v6 lite": (918.0, 918.0, "cloud.google.com/tpu/docs/v6e"),
    }
)


def peak(kind: str, precision: str) -> tuple[float, str] | None:
    """Operations a second at most, and who says so; None of a device that is not in the table."""
    names = [name for name in PEAKS if kind == name or kind.startswith((f"{name} ", f"{name}-"))]
    if not names:
        return None
    low, single, source = PEAKS[max(names, key=len)]
    return 1e12 * (low if precision == "bfloat16" else single), source


def operations(jaxpr) -> float:
    """Multiplications and additions in the products and convolutions of a traced program, those of loops included.

    What is element by element is not counted, as usual for the share of a peak. Of a `while`, whose length is not
    known, one turn counts; of a `cond` the dearest branch.
    """
    return sum(_of(equation) for equation in jaxpr.eqns)


def _of(equation) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, params["dimension_numbers"]
        taps = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * taps
    inner = [operations(jaxpr) for jaxpr in _nested(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    return max(inner, default=0.0) if name == "cond" else sum(inner)


def _nested(params):
    for value in params.values():
        for found in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(found, "jaxpr", found)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr


def of_update(step, train_state, batch) -> float:
    """The operations of one update."""
    closed = jax.make_jaxpr(step.update)(train_state.key, train_state.progress, batch)
    return operations(closed.jaxpr)
