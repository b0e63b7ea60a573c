"""Survival: the probability that an element of the data has not been replaced by noise, as it falls with time."""

from __future__ import annotations

__all__ = ["Shape", "Survival", "survival_of"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_choice, require_function
from vifx.core.types import Array

Shape: TypeAlias = Literal["linear", "cosine", "quadratic"]
"""``1 − t``, ``1 − cos(π (1 − t)/2)`` or ``1 − t²``."""

_POINTS = 257


@dataclass(frozen=True)
class Survival:
    """α(t) for t in [0, 1]: decreasing from 1; `survival_of` makes one.

    Attributes:
      label: its name.
      of: ``t -> α(t)``, elementwise, differentiable.
    """

    label: str
    of: Callable[[Array], Array]

    def slope(self, t: Array) -> tuple[Array, Array]:
        """Return α and −dα/dt at times of any shape."""
        alpha, slope = jax.jvp(self.of, (t,), (jnp.ones_like(t),))
        return alpha, -slope

    def grid(self, points: int) -> Array:
        """Return α at equally spaced times from 0 to 1, ``[points]``; at 0 it is exactly 1."""
        return self.of(jnp.linspace(0.0, 1.0, points)).at[0].set(1.0)


def _cosine(t: Array) -> Array:
    return 2 * jnp.sin(math.pi / 4 * (1 - t)) ** 2  # 1 − cos(π (1 − t)/2), accurate where it is small


_SHAPES = MappingProxyType({"linear": lambda t: 1 - t, "cosine": _cosine, "quadratic": lambda t: 1 - t**2})


def survival_of(shape: Shape | Callable[[Array], Array], name: str) -> Survival:
    """Return the survival of a word, or of a function of times.

    Args:
      shape: a word, or a function of times of any shape, elementwise, made of JAX's functions.
      name: of the argument.

    Raises:
      TypeError: it is neither.
      ValueError: a word that is none of them; or a function that is not 1 at 0, leaves [0, 1], or does not decrease.
    """
    if isinstance(shape, str):
        return Survival(shape, _SHAPES[require_choice(shape, get_args(Shape), name)])
    require_function(shape, name, "t -> α(t)")
    with jax.ensure_compile_time_eval():
        grid = jnp.linspace(0.0, 1.0, _POINTS)
        alpha = np.asarray(shape(grid))
    if alpha.shape != (_POINTS,):
        raise ValueError(f"{name} must be elementwise, but maps [{_POINTS}] to {list(alpha.shape)}")
    if not abs(alpha[0] - 1) < 1e-6:
        raise ValueError(f"{name} must be 1 at t = 0, where nothing is replaced, but is {alpha[0]:g}")
    outside = ~((alpha >= 0) & (alpha <= 1 + 1e-6))
    if outside.any():
        place = int(np.argmax(outside))
        raise ValueError(f"{name} must be a probability, but is {alpha[place]:g} at t = {float(grid[place]):g}")
    flat = np.diff(alpha) >= 0
    if flat.any():
        place = int(np.argmax(flat))
        raise ValueError(
            f"{name} must decrease from t = 0 to 1, but goes from {alpha[place]:g} to {alpha[place + 1]:g} between "
            f"t = {float(grid[place]):g} and {float(grid[place + 1]):g}"
        )
    return Survival(getattr(shape, "__name__", "own"), shape)
