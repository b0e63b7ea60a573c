"""Autoregressive flows: each element is mapped by what comes before it."""

from __future__ import annotations

__all__ = ["autoregressive"]

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require, require_widths
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import flattened
from vifx.flows.bijections.element_order import checked_order, order_of
from vifx.flows.bijections.elementwise import Elementwise
from vifx.flows.bijections.masked_dense import Masked, masked
from vifx.flows.checked import checked


def autoregressive(
    elementwise: Elementwise,
    *,
    hidden: Sequence[int] = (64, 64),
    order: str | Sequence[int] | None = None,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> Bijection:
    """Map each element with parameters that a masked network computes from those before it.

    ``z_i = τ(x_i; θ_i(x_{before i}, given))``, so the Jacobian is triangular in the order, its other entries exactly
    zero, and ``log|det ∂z/∂x| = Σ_i log|∂τ/∂x_i|`` in nats. The event's elements are one vector. `forward`, from data
    to base, is one pass of the network; `inverse` is one pass for each element, in one compiled loop, after which
    each element is exact. So a density is fast and a sample is not; `flows.invert` exchanges the two. The network's
    last layer is zero at first: the bijection starts as the identity.

    Gradients pass through the loop; its intermediate values are computed again on the way back, so that memory grows
    with the elements only.

    Args:
      elementwise: τ, such as ``flows.affine()`` or ``flows.rational_quadratic()``.
      hidden: widths of the network's hidden layers.
      order: a permutation, the first element's index first; None for ``0, 1, 2, …``, ``"reversed"`` for its reverse.
      activation: the network's nonlinearity.

    Raises:
      TypeError: `elementwise` is not an `Elementwise`.
      ValueError: `hidden` is empty or has a width below 1; or `order` is not a permutation, for
        a given event where it is used.

    References: Germain et al. (2015), arXiv:1502.03509; Papamakarios, Pavlakou & Murray (2017), arXiv:1705.07057.
    """
    require(elementwise, Elementwise, "autoregressive: elementwise", "an Elementwise", "such as flows.affine()")
    widths = require_widths(hidden, "autoregressive: hidden")
    placed = checked_order(order, "autoregressive")

    def network(elements: int) -> tuple[Masked, Sequence[int]]:
        own = order_of(placed, elements, "autoregressive")
        return masked(own, widths, elementwise.size, activation), own

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        rows = x.reshape(x.shape[0], -1)
        return network(rows.shape[1])[0].init(key, rows, flattened(given, x.dtype)), {}

    def forward(params: PyTree, _state: PyTree, x: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows = x.reshape(x.shape[0], -1)
        net, _ = network(rows.shape[1])
        z, log_det = elementwise.forward(net.outputs(params, rows, flattened(given, x.dtype)), rows)
        return z.reshape(x.shape), jnp.sum(log_det, axis=1)

    def inverse(params: PyTree, _state: PyTree, z: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows, parents = z.reshape(z.shape[0], -1), flattened(given, z.dtype)
        net, own = network(rows.shape[1])

        def one(carry: tuple[Array, Array], element: Array) -> tuple[tuple[Array, Array], None]:
            x, total = carry
            theta = net.output(params, x, parents, element)
            value, log_det = elementwise.inverse(theta, jnp.take(rows, element, axis=1))
            return (jax.lax.dynamic_update_index_in_dim(x, value, element, 1), total + log_det), None

        start = (jnp.zeros_like(rows), jnp.zeros(rows.shape[0], rows.dtype))
        (x, total), _ = jax.lax.scan(jax.checkpoint(one, prevent_cse=False), start, jnp.asarray(own))
        return x.reshape(z.shape), total

    return checked("autoregressive", init, forward, inverse, scalars=True)
