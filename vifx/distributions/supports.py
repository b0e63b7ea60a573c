"""What values a distribution can have: the constraints that `support` returns and `log_prob` consults."""

from __future__ import annotations

__all__ = [
    "Among",
    "FirstAndLater",
    "LabelsOrWeights",
    "PartlyReal",
    "Shades",
    "Steps",
    "UnitInterval",
    "WholeNumbers",
    "check_classes",
    "enumerated",
    "inside_of",
]

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions.constraints import Constraint

from vifx.core.types import Array
from vifx.grey import pixel_of, shade_of

_SLACK = 2.0**-11.5  # √ε of single precision: weights that were summed or rounded in it still are a distribution

_INSIDE = (jax.Array, np.ndarray, Constraint)


def inside_of(support: Any, value: Array, *, event: int = 0) -> tuple[Array, Array]:
    """Return where a value is in the support, and the value with a feasible one in place of what is not.

    ``jnp.where(inside, log_prob(safe), -jnp.inf)`` is then −∞ outside the support, with a gradient of zero there and
    never NaN.

    Args:
      value: ``[..., *event]``.

    Returns:
      Booleans ``[...]``, and an array of the shape of `value`.
    """
    inside = jnp.asarray(support(value))
    within = jnp.broadcast_to(inside.reshape(inside.shape + (1,) * event), value.shape)
    return inside, jnp.where(within, value, support.feasible_like(value))


def enumerated(values: Array | np.ndarray, batch_shape: tuple[int, ...], *, expand: bool) -> Array:
    """Return the values of a support along a new first axis, before the batch.

    Args:
      values: ``[states, *event]``.
      expand: whether the values are repeated over the batch; otherwise its axes have one member each.

    Returns:
      ``[states, *batch, *event]``, or ``[states, 1, …, *event]`` if they are not repeated.
    """
    states, *event = values.shape
    unexpanded = jnp.asarray(values).reshape(states, *(1 for _ in batch_shape), *event)
    return jnp.broadcast_to(unexpanded, (states, *batch_shape, *event)) if expand else unexpanded


def check_classes(logits: Array) -> None:
    """Refuse logits without an axis of classes.

    Raises:
      ValueError: if there is none.
    """
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits must have a last axis with one entry per class, but has shape {logits.shape}; give an array of "
            "shape [..., classes]"
        )


class _Support(Constraint[Any]):
    def tree_flatten(self) -> Any:
        """Return the arrays and the constraints that describe the set, and the rest: it passes through `jax.jit`."""
        inside = {name: value for name, value in vars(self).items() if isinstance(value, _INSIDE)}
        return tuple(inside.values()), (tuple(inside), {k: v for k, v in vars(self).items() if k not in inside})

    def feasible_like(self, prototype: Any) -> Array:
        """Return zeros."""
        return jnp.zeros_like(prototype)

    def eq(self, other: object, static: bool = False) -> bool:
        """Return whether the other is the same set."""
        del static
        return type(self) is type(other) and all(np.array_equal(vars(self)[k], vars(other)[k]) for k in vars(self))


class UnitInterval(_Support):
    """Numbers from 0 to 1, of any dtype, booleans too."""

    def __call__(self, x: Any) -> Any:
        """Return where numbers are in [0, 1]."""
        x = _numbers(x)
        return (x >= 0) & (x <= 1)

    def __repr__(self) -> str:
        return "numbers from 0 to 1"


class WholeNumbers(_Support):
    """The integers 0, 1, …, as integers of any dtype, as booleans, or in floating point.

    Args:
      largest: the last of them; None if there is no last one.
    """

    is_discrete = True

    def __init__(self, *, largest: int | None = None) -> None:
        self.largest = largest

    def __call__(self, x: Any) -> Any:
        """Return where numbers are among the integers."""
        x = _numbers(x)
        if jnp.issubdtype(x.dtype, jnp.floating):
            largest = float(jnp.finfo(x.dtype).max) if self.largest is None else self.largest
            floor = jnp.floor(x) if isinstance(x, jax.Array) else np.floor(x)
            return (x >= 0) & (x <= largest) & (x == floor)
        # A bound above the largest value of the dtype would wrap.
        bounded = self.largest is not None and self.largest < int(jnp.iinfo(x.dtype).max)
        return (x >= 0) & (x <= self.largest) if bounded else x >= 0

    def __repr__(self) -> str:
        return "integers from 0 on" if self.largest is None else f"integers from 0 to {self.largest}"


class Shades(WholeNumbers):
    """8-bit pixels in S shades of grey, spread over 0, …, 255: shade k is the pixel nearest to ``255 k / (S − 1)``.

    Args:
      shades: S.
    """

    def __init__(self, shades: int) -> None:
        super().__init__(largest=255)
        self.shades = shades
        self.pixels = pixel_of(np.arange(shades), shades)

    def shade(self, x: Any) -> Any:
        """Return the number of the shade that each pixel, 0, …, 255, is nearest to."""
        return x if self.shades == 256 else shade_of(x.astype(np.int32), self.shades)

    def __call__(self, x: Any) -> Any:
        """Return where numbers are pixels of a shade."""
        inside = super().__call__(x)
        if self.shades == 256:
            return inside
        arrays = jnp if isinstance(x, jax.Array) else np
        pixels = arrays.asarray(self.pixels)[self.shade(arrays.where(inside, x, 0))]
        return inside & (pixels.astype(x.dtype) == x)

    def __repr__(self) -> str:
        return super().__repr__() if self.shades == 256 else f"pixels of {self.shades} shades"


class LabelsOrWeights(WholeNumbers):
    """Integers ``0, …, classes − 1``, or a floating array whose last axis is a distribution over the classes.

    Weights are at least 0, and their sum is 1 up to √ε of single precision, or of their own type if that is coarser.

    Args:
      classes: how many.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(largest=classes - 1)

    def __call__(self, x: Any) -> Any:
        """Return where labels, or whole vectors of weights, are valid: ``[*batch]``."""
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return super().__call__(x)
        slack = max(_SLACK, float(jnp.finfo(x.dtype).eps) ** 0.5)
        return (x.min(axis=-1) >= 0) & (abs(x.sum(axis=-1) - 1) <= slack)

    def __repr__(self) -> str:
        return f"{super().__repr__()}, or weights over them that are at least 0 and sum to 1"


class Among(_Support):
    """One of finitely many arrays.

    Args:
      values: ``[states, *event]``.
    """

    is_discrete = True

    def __init__(self, values: Array | np.ndarray) -> None:
        self.values, self.event_dim = values, values.ndim - 1

    def states(self, x: Any) -> Any:
        """Return which of the values each event is, booleans ``[*batch, states]``."""
        lead = x.ndim - self.event_dim
        values = self.values if isinstance(x, np.ndarray) else jnp.asarray(self.values)
        values = values.reshape((1,) * lead + self.values.shape)
        each = x.reshape(*x.shape[:lead], 1, *x.shape[lead:])
        return (each == values).all(axis=tuple(range(lead + 1, lead + 1 + self.event_dim)))

    def __call__(self, x: Any) -> Any:
        """Return where events are one of the values, ``[*batch]``."""
        return self.states(x).any(axis=-1)

    def __repr__(self) -> str:
        return f"one of {self.values.shape[0]} values"

    def feasible_like(self, prototype: Any) -> Array:
        """Return the first value, repeated."""
        return jnp.broadcast_to(jnp.asarray(self.values)[0], jnp.shape(prototype))


class FirstAndLater(_Support):
    """Sequences of which the first step is in one support and the later ones in another.

    Args:
      first: the support of the first step.
      later: that of each later one; None if it depends on the step before, so that nothing is known of it here.
      length: T.
      lengths: how many steps of each sequence there are, ``[sequences]``; None for all. Steps beyond hold anything.
    """

    def __init__(self, first: Any, later: Any, length: int, lengths: Array | None) -> None:
        self.first, self.later, self.length, self.lengths = first, later, length, lengths
        self.is_discrete, self.event_dim = first.is_discrete, first.event_dim + 1

    def _split(self, x: Any) -> tuple[Any, Any]:
        """Return the first steps and the later ones, time first."""
        x = jnp.moveaxis(x, x.ndim - self.event_dim, 0)
        return x[0], x[1:]

    def steps_inside(self, x: Any) -> Array:
        """Return which steps are valid if there are no lengths, ``[..., length]``."""
        first, later = self._split(x)
        found = jnp.asarray(self.first(first))[None]
        if self.length > 1:
            if self.later is None:
                known = jnp.isfinite(later) if jnp.issubdtype(later.dtype, jnp.inexact) else jnp.ones(later.shape, bool)
                after = jnp.all(known, axis=tuple(range(found.ndim, later.ndim)))
            else:
                after = jnp.asarray(self.later(later))
            found = jnp.concatenate([found, after])
        return jnp.moveaxis(found, 0, -1)

    def __call__(self, x: Any) -> Any:
        """Return where sequences are valid, ``[...]``."""
        found = self.steps_inside(x)
        if self.lengths is not None:
            found = found | jnp.broadcast_to(
                jnp.arange(self.length, dtype=self.lengths.dtype)[None] >= self.lengths[:, None], found.shape
            )
        return found.all(axis=-1)

    def __repr__(self) -> str:
        return f"sequences of {self.later or self.first!r}"

    def feasible_like(self, prototype: Any) -> Array:
        """Return what is feasible for every step."""
        axis = prototype.ndim - self.event_dim
        first, later = self._split(prototype)
        after = jnp.zeros_like(later) if self.later is None else self.later.feasible_like(later)
        return jnp.moveaxis(jnp.concatenate([self.first.feasible_like(first)[None], after]), 0, axis)


class PartlyReal(_Support):
    """Vectors of which some elements are finite real numbers; the others may hold anything.

    Args:
      observed: which elements must be real, booleans ``[*batch, d]``.
    """

    event_dim = 1

    def __init__(self, observed: Array | np.ndarray) -> None:
        self.observed = observed

    def __call__(self, x: Any) -> Any:
        """Return where vectors are valid, ``[..., *batch]``."""
        missing = ~self.observed
        shape = np.broadcast_shapes(x.shape, missing.shape)
        broadcast_to = np.broadcast_to if isinstance(x, np.ndarray) else jnp.broadcast_to
        finite = abs(x) < np.inf
        return (broadcast_to(finite, shape) | broadcast_to(missing, shape)).all(axis=-1)

    def __repr__(self) -> str:
        return "vectors whose observed elements are real"


class Steps(_Support):
    """Sequences of which each step is in a support; steps beyond the end of a sequence may hold anything.

    Args:
      each: the support of a step; its parameters, if it has any, are ``[sequences × length]``.
      length: T.
      lengths: how many steps of each sequence there are, ``[sequences]``; None for all.
    """

    def __init__(self, each: Any, length: int, lengths: Array | None) -> None:
        self.each, self.length, self.lengths = each, length, lengths
        self.is_discrete, self.event_dim = each.is_discrete, each.event_dim + 1

    def __call__(self, x: Any) -> Any:
        """Return where sequences are valid, ``[..., sequences]``."""
        lead = x.ndim - self.event_dim - 1
        flat = x.reshape(*x.shape[:lead], x.shape[lead] * self.length, *x.shape[lead + 2 :])
        inside = self.each(flat).reshape(*x.shape[:lead], -1, self.length)
        if self.lengths is not None:
            beyond = jnp.arange(self.length, dtype=self.lengths.dtype)[None] >= self.lengths[:, None]
            inside = inside | jnp.broadcast_to(beyond, inside.shape)
        return inside.all(axis=-1)

    def __repr__(self) -> str:
        return f"sequences of {self.each!r}"

    def feasible_like(self, prototype: Any) -> Array:
        """Return what is feasible for every step."""
        return self.each.feasible_like(prototype)


def _numbers(value: Any) -> Any:
    """Return an array that can be compared with whole numbers, which booleans cannot."""
    return value.astype(np.uint8) if value.dtype == np.bool_ else value
