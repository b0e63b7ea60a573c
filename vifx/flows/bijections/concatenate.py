"""Parts of an event by bijections of their own."""

from __future__ import annotations

__all__ = ["concatenate"]

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require, require_widths
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.noise import noise_of
from vifx.flows.checked import A_BIJECTION, checked


def concatenate(*bijections: Bijection, sizes: Sequence[int] | None = None) -> Bijection:
    """Map parts of the last axis by bijections of their own: ``z = (f_1(x_1), …, f_n(x_n))``.

    ``log|det ∂z/∂x| = Σ_i log|det ∂f_i|`` in nats. So each column of a table gets the map that its numbers need:
    ``flows.concatenate(flows.identity(), flows.invert(flows.exp()), flows.logit())`` takes three columns, of real
    numbers, of positive ones and of shares, to the line. A part may change its size, as `flows.support` of a simplex
    does; then the last axis of z has another length than that of x.

    Args:
      *bijections: one for each part, in the order of the axis.
      sizes: the length of each part, of which the axis is the sum; None for one element each.

    Returns:
      A bijection whose parameters are a tuple with one entry for each part.

    Raises:
      ValueError: there is no bijection, there are more or fewer `sizes` than bijections, or a size is below 1; from
        the bijection, the axis has another length, or a part does not keep the other axes.
      TypeError: something that is not a `Bijection`.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import flows
    >>> bijection, x = flows.concatenate(flows.exp(), flows.identity(), sizes=(1, 2)), jnp.array([[0.0, 5.0, 7.0]])
    >>> params, state = bijection.init(jax.random.key(0), x)
    >>> print(bijection.forward(params, state, x)[0])
    [[1. 5. 7.]]
    """
    if not bijections:
        raise ValueError("concatenate: bijections is empty; give one for each part of the last axis.")
    for item in bijections:
        require(item, Bijection, "concatenate: every argument", *A_BIJECTION)
    lengths = (1,) * len(bijections) if sizes is None else require_widths(sizes, "concatenate: sizes")
    if len(lengths) != len(bijections):
        raise ValueError(
            f"concatenate: {len(bijections)} bijections and {len(lengths)} sizes; give the length of each part."
        )

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        params, state, outputs = [], [], []
        for index, (item, part) in enumerate(zip(bijections, _parts(x, lengths), strict=True)):
            own = jax.random.fold_in(key, index)
            own_params, own_state = item.init(own, part, given)
            z = jax.eval_shape(
                lambda key, item=item, p=own_params, s=own_state, x=part: _z(item, p, s, x, given, key), own
            )
            if z.shape[:-1] != x.shape[:-1]:
                raise ValueError(
                    f"concatenate: part {index} becomes {list(z.shape)}, but all parts must have the axes "
                    f"{[*x.shape[:-1], 'size']}, to be put side by side; reshape the event before."
                )
            params.append(own_params)
            state.append(own_state)
            outputs.append(jnp.zeros((0, *z.shape[1:]), z.dtype))
        return tuple(params), {"parts": tuple(state), "outputs": tuple(outputs)}

    def run(
        direction: str, lengths: Sequence[int], params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None
    ) -> tuple[Array, Array]:
        found, total = [], jnp.zeros(x.shape[0], x.dtype)
        for index, (item, part) in enumerate(zip(bijections, _parts(x, lengths), strict=True)):
            function = getattr(item, direction)
            part, log_det = function(params[index], state["parts"][index], part, given, key=noise_of(key, index))
            found.append(part)
            total = total + log_det
        return jnp.concatenate(found, axis=-1), total

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return run("forward", lengths, params, state, x, given, key)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return run("inverse", [part.shape[-1] for part in state["outputs"]], params, state, z, given, key)

    return checked("concatenate", init, forward, inverse, keeps_size=False)


def _z(item: Bijection, params: PyTree, state: PyTree, x: Array, given: Any, key: Key) -> Array:
    return item.forward(params, state, x, given, key=key)[0]


def _parts(x: Array, lengths: Sequence[int]) -> Sequence[Array]:
    if x.shape[-1] != sum(lengths):
        raise ValueError(
            f"concatenate: the parts have {' + '.join(map(str, lengths))} = {sum(lengths)} elements, and the last axis "
            f"{x.shape[-1]}; give sizes= whose sum is the length of the axis."
        )
    return jax.lax.split(x, tuple(map(int, np.asarray(lengths))), axis=x.ndim - 1)
