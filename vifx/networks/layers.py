"""Functions that all bodies share: joining parents, and normalization by name."""

from __future__ import annotations

__all__ = ["LECUN", "Activation", "Initializer", "Norm", "join", "normalize", "positive"]

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from vifx.core.types import Array

Activation: TypeAlias = Callable[[Array], Array]
Initializer: TypeAlias = Callable[..., Any]

_UNIT = math.log(math.expm1(1.0))  # softplus(_UNIT) = 1
LECUN: Initializer = nn.initializers.lecun_normal()
Norm: TypeAlias = Literal["batch", "layer"] | None


def join(*parents: Array) -> Array:
    """Flatten each parent and put them side by side: ``[examples, ...], ... → [examples, features]``.

    Raises:
      TypeError: if a parent is an integer or boolean array, which a matrix product would take for a quantity.
      ValueError: if there is no parent, or a parent has no examples axis.
    """
    if not parents:
        raise ValueError("a network needs at least one parent; give a fixed distribution for a factor without parents")
    for position, parent in enumerate(parents):
        if parent.ndim == 0:
            raise ValueError(f"parent {position} must have an examples axis, but is a scalar")
        if not jnp.issubdtype(parent.dtype, jnp.floating):
            raise TypeError(
                f"parent {position} has dtype {parent.dtype}, but a network multiplies floats; give "
                "the network inputs=(...) with an OneHot(classes) for labels or a Pixels() for 8-bit images there"
            )
    flat = promote_dtype(*(parent.reshape(parent.shape[0], -1) for parent in parents))
    return jnp.concatenate(flat, axis=-1)


def normalize(x: Array, norm: Norm, *, train: bool, scale_init: Initializer = nn.initializers.ones) -> Array:
    """Normalize over the batch (``"batch"``, running statistics unless `train`), the channels (``"layer"``), or not.

    To be called inside a compact module, which then owns the scale, the shift and the statistics.

    Args:
      x: features ``[examples, ..., channels]``.
      norm: ``"batch"``, ``"layer"`` or None.
      train: use the batch's statistics, and write their running averages.

    Raises:
      ValueError: if `norm` is none of these.
    """
    match norm:
        case None:
            return x
        case "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, scale_init=scale_init)(x)
        case "layer":
            return nn.LayerNorm(scale_init=scale_init)(x)
    raise ValueError(f"norm must be None, 'batch' or 'layer', got {norm!r}")


def positive(raw: Array, minimum: float) -> Array:
    """Map real numbers to scales: ``σ = m + (1 − m) softplus(r + log(e − 1))``, so that ``r = 0`` gives 1.

    σ is above the minimum m, linear in r for large r, and its logarithm has bounded derivatives: nothing
    overflows, and no density grows without bound.
    """
    return minimum + (1.0 - minimum) * jax.nn.softplus(raw + _UNIT)
