"""One block many times, with parameters of its own each time."""

from __future__ import annotations

__all__ = ["stack"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require, require_integer
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.checked import A_BIJECTION, checked
from vifx.loops import scan


def stack(block: Bijection, depth: int, *, unroll: int | bool = 1, remat: bool = False) -> Bijection:
    """Compose `depth` copies of one block as one scan: ``z = f_depth(… f_1(x))``.

    It computes what `chain` of as many blocks does, from parameters with a leading axis ``[depth, ...]``; the block is
    traced and compiled once, so that compile time does not grow with depth. Each copy is initialized on the output of
    the ones before it. Blocks with a convolution of XLA's, which is slow in loops on CPUs, are written out there.

    Args:
      block: a bijection that keeps the event's shape.
      depth: how many copies, at least 1.
      unroll: how many copies one iteration of the scan holds, or True for all, without a loop: faster on small layers,
        slower to compile.
      remat: whether the gradient computes each copy again, from its input, rather than keep what is inside it: a third
        more operations, and memory that grows with depth by one event a copy.

    Raises:
      ValueError: `depth` or `unroll` is below 1, or the block changes the shape.
      TypeError: `block` is not a `Bijection`.
    """
    require(block, Bijection, "stack: block", *A_BIJECTION)
    for argument, number in (("depth", depth), ("unroll", int(unroll) if unroll is True else unroll)):
        require_integer(number, f"stack: {argument}")

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        _check_shape(block, key, x, given)

        def one(x: Array, key: Key) -> tuple[Array, tuple[PyTree, PyTree]]:
            params, state = block.init(jax.random.fold_in(key, 0), x, given)
            x, _ = block.forward(params, state, x, given, key=jax.random.fold_in(key, 1))
            return x, (params, state)

        _, (params, state) = jax.lax.scan(one, x, jax.random.split(key, depth))
        return params, state

    def run(
        direction: Any, params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None, reverse: bool
    ) -> tuple[Array, Array]:
        direction = jax.checkpoint(direction) if remat else direction

        def one(carry: tuple[Array, Array], own: tuple[PyTree, PyTree, Array]) -> tuple[tuple[Array, Array], None]:
            x, total = carry
            noise = None if key is None else jax.random.fold_in(key, own[2])
            x, log_det = direction(own[0], own[1], x, given, key=noise)
            return (x, total + log_det), None

        start = (x, jnp.zeros(x.shape[0], x.dtype))
        own = (params, state, jnp.arange(depth))
        return scan(one, start, own, reverse=reverse, unroll=unroll)[0]

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return run(block.forward, params, state, x, given, key, False)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return run(block.inverse, params, state, z, given, key, True)

    return checked("stack", init, forward, inverse, scalars=True, keeps_size=False)


def _check_shape(block: Bijection, key: Key, x: Array, given: Any) -> None:
    def once(key: Key, x: Array, given: Any) -> Array:
        params, state = block.init(jax.random.fold_in(key, 0), x, given)
        return block.forward(params, state, x, given, key=jax.random.fold_in(key, 1))[0]

    z = jax.eval_shape(once, key, x, given)
    if z.shape != x.shape:
        raise ValueError(
            f"stack: the block maps {list(x.shape)} to {list(z.shape)}; copies of one block must keep the shape. Put "
            "what changes it (squeeze, split_off, flatten) beside the stack in a chain."
        )
