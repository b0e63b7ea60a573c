"""Which part of an event a coupling leaves unchanged."""

from __future__ import annotations

__all__ = ["Mask", "channels", "checkerboard", "halves", "mask"]

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vifx.core.types import Array


class Mask(NamedTuple):
    """A division of an event into a part that a coupling leaves unchanged and a part that it changes.

    Attributes:
      name: its name in messages.
      split: ``x -> (unchanged, changed)``, both ``[examples, ...]``.
      merge: ``(unchanged, changed) -> x``, the inverse of `split`.
      only: values ``[*changed.shape, ...]`` with zeros at the places that do not count; the same values if all of the
        changed part counts.
    """

    name: str
    split: Callable[[Array], tuple[Array, Array]]
    merge: Callable[[Array, Array], Array]
    only: Callable[[Array], Array]


def halves(*, swapped: bool = False) -> Mask:
    """The first half of the last axis stays unchanged, the second changes: two slices, so half the work.

    If the axis is odd, the second half is longer.

    Args:
      swapped: whether the second half is the one that stays unchanged.

    Returns:
      A mask that raises ValueError for a last axis of one element, which has no halves.
    """
    return _sliced("halves", swapped, None)


def channels(*, swapped: bool = False) -> Mask:
    """The first half of the channels of an image stays unchanged, the second changes: two slices.

    Args:
      swapped: whether the second half is the one that stays unchanged.

    Returns:
      A mask of images ``[examples, height, width, channels]`` that raises ValueError for other events, and for a single
      channel.

    Reference: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.
    """
    return _sliced("channels", swapped, 4)


def checkerboard(*, swapped: bool = False) -> Mask:
    """Pixels with an even sum of coordinates stay unchanged, the others change, in all channels.

    The parts are masked, not sliced: both have the shape of the image, with zeros in the unchanged part where the other
    one lies.

    Args:
      swapped: whether the pixels with an odd sum are the ones that stay unchanged.

    Returns:
      A mask of images ``[examples, height, width, channels]`` that raises ValueError for other events, and for a
      single pixel.

    Reference: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.
    """

    def unchanged(event: tuple[int, ...]) -> np.ndarray:
        _check_image("checkerboard", event)
        if event[0] * event[1] < 2:
            raise ValueError(
                f"checkerboard needs at least two pixels, got an event of shape {list(event)}; use flows.channels()."
            )
        even = (np.arange(event[0])[:, None, None] + np.arange(event[1])[None, :, None]) % 2 == 0
        return np.broadcast_to(even != swapped, event)

    return _multiplied("checkerboard", 3, unchanged)


def mask(unchanged: ArrayLike, *, swapped: bool = False) -> Mask:
    """The elements at which a boolean array is True stay unchanged, the others change.

    The parts are masked, not sliced, as in `checkerboard`.

    Args:
      unchanged: booleans of the event's shape, neither all True nor all False.
      swapped: whether the elements at which it is False are the ones that stay unchanged.

    Returns:
      A mask that raises ValueError for events of another shape.

    Raises:
      TypeError: `unchanged` is not boolean.
      ValueError: it is all True or all False.
    """
    array = np.asarray(unchanged)
    if array.dtype != np.bool_:
        raise TypeError(f"mask: unchanged must be boolean, got {array.dtype}; write it as a comparison, such as a > 0.")
    if array.all() or not array.any():
        raise ValueError(
            f"mask: unchanged of shape {list(array.shape)} is all {bool(array.all())}; a coupling needs elements of "
            "both kinds."
        )

    def of_event(event: tuple[int, ...]) -> np.ndarray:
        if event != array.shape:
            raise ValueError(
                f"mask: unchanged has shape {list(array.shape)} and the event {list(event)}; give one boolean per "
                "element of the event."
            )
        return array != swapped

    return _multiplied("mask", array.ndim, of_event)


def _sliced(name: str, swapped: bool, ndim: int | None) -> Mask:
    def split(x: Array) -> tuple[Array, Array]:
        if ndim is not None:
            _check_image(name, x.shape[1:])
        size = x.shape[-1]
        if size < 2:
            raise ValueError(
                f"{name} needs at least two elements on the last axis, got an event of shape {list(x.shape[1:])}; "
                "squeeze images, or use flows.checkerboard() or flows.mask(...)."
            )
        first, second = jax.lax.split(x, (size // 2, size - size // 2), axis=x.ndim - 1)
        return (second, first) if swapped else (first, second)

    def merge(unchanged: Array, changed: Array) -> Array:
        return jnp.concatenate((changed, unchanged) if swapped else (unchanged, changed), axis=-1)

    return Mask(name, split, merge, lambda values: values)


def _multiplied(name: str, ndim: int, unchanged: Callable[[tuple[int, ...]], np.ndarray]) -> Mask:
    def split(x: Array) -> tuple[Array, Array]:
        return jnp.where(unchanged(x.shape[1:])[None], x, jnp.zeros_like(x)), x

    def merge(kept: Array, changed: Array) -> Array:
        return jnp.where(unchanged(kept.shape[1:])[None], kept, changed)

    def only(values: Array) -> Array:
        event = values.shape[1 : 1 + ndim]
        where = unchanged(event).reshape(1, *event, *(1,) * (values.ndim - 1 - ndim))
        return jnp.where(where, jnp.zeros_like(values), values)

    return Mask(name, split, merge, only)


def _check_image(name: str, event: tuple[int, ...]) -> None:
    if len(event) != 3:
        raise ValueError(
            f"{name} divides images [height, width, channels], got an event of shape {list(event)}; use flows.halves() "
            "for vectors."
        )
