"""Maps of one number each, whose parameters a network computes: what couplings and autoregressive flows share."""

from __future__ import annotations

__all__ = ["Elementwise", "additive", "affine"]

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_choice, require_number
from vifx.core.types import Array


class Elementwise(NamedTuple):
    """An invertible map of the real line with `size` parameters for every element; at ``theta = 0`` the identity.

    A `coupling` or an autoregressive flow computes `theta` with a network whose last layer starts at zero, so that
    the whole flow starts as the identity.

    Attributes:
      name: its name in messages.
      size: how many parameters an element has.
      forward: ``(theta, x) -> (z, log_det)`` with `theta` ``[..., size]``, `x`, `z` and `log_det` ``[...]``, and
        ``log_det = log|∂z/∂x|`` of each element in nats.
      inverse: ``(theta, z) -> (x, log_det)`` with ``log_det = log|∂x/∂z|`` of each element in nats.
    """

    name: str
    size: int
    forward: Callable[[Array, Array], tuple[Array, Array]]
    inverse: Callable[[Array, Array], tuple[Array, Array]]


def additive() -> Elementwise:
    """Shift: ``z = x + t``, ``log|∂z/∂x| = 0``, with ``theta = (t)``.

    Reference: Dinh, Krueger & Bengio (2015), arXiv:1410.8516.

    >>> import jax.numpy as jnp
    >>> z, log_det = additive().forward(jnp.full((1, 1), 2.0), jnp.ones(1))
    >>> print(z, log_det)
    [3.] [0.]
    """

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        (shift,) = _parameters(theta)
        return x + shift, jnp.zeros_like(x)

    def inverse(theta: Array, z: Array) -> tuple[Array, Array]:
        (shift,) = _parameters(theta)
        return z - shift, jnp.zeros_like(z)

    return Elementwise("additive", 1, forward, inverse)


def affine(*, bound: float | None = None, form: str = "exponential") -> Elementwise:
    """Scale and shift: ``z = a·x + t``, ``log|∂z/∂x| = log a``, with ``theta = (s, t)``.

    Args:
      bound: the largest ``|log a|``: then ``log a = bound·tanh(s/bound)``, which has slope 1 at zero. None for
        ``log a = s``. It belongs to the exponential form.
      form: ``"exponential"`` for ``log a = s``; ``"sigmoid"`` for ``a = σ(s + 2)/σ(2)``, which stays
        between 0 and 1.14: Glow's scale, divided by what it is at ``s = 0``.

    Raises:
      ValueError: `bound` is not positive and finite or is given with the sigmoid form, or `form` is unknown.

    References: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803; Kingma & Dhariwal (2018), arXiv:1807.03039.

    >>> import jax.numpy as jnp
    >>> z, log_det = affine().forward(jnp.array([[0.5, 2.0]]), jnp.ones(1))
    >>> [round(float(each), 4) for each in (z[0], log_det[0])]
    [3.6487, 0.5]
    """
    require_choice(form, ("exponential", "sigmoid"), "affine: form")
    if bound is not None and form == "sigmoid":
        raise ValueError(f"affine: the sigmoid form has a bound of its own, got bound={bound!r}; leave bound out.")
    if bound is not None:
        require_number(bound, "affine: bound", above=0, hint="None for no bound")

    def bounded(s: Array) -> Array:
        if form == "sigmoid":
            return jax.nn.log_sigmoid(s + 2) + math.log1p(math.exp(-2))
        return s if bound is None else bound * jnp.tanh(s / bound)

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        s, shift = _parameters(theta)
        s = bounded(s)
        return x * jnp.exp(s) + shift, s

    def inverse(theta: Array, z: Array) -> tuple[Array, Array]:
        s, shift = _parameters(theta)
        s = bounded(s)
        return (z - shift) * jnp.exp(-s), -s

    return Elementwise("affine", 2, forward, inverse)


def _parameters(theta: Array) -> list[Array]:
    """The parameters of all elements one by one, ``[..., size] -> size times [...]``."""
    # A coupling lays the parameters of its elements side by side, so that in this view each is a contiguous slice.
    # Unlike slices, a split has one concatenation for a gradient, not a sum of padded parts.
    rows = jnp.moveaxis(theta, -1, -2)
    return [part.squeeze(-2) for part in jax.lax.split(rows, (1,) * theta.shape[-1], axis=rows.ndim - 2)]
