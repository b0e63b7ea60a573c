"""Loops that do not slow down what is inside them.

XLA's CPU back end takes many times as long for the weight gradient of a convolution inside a loop as outside.
`vifx.networks.convolve` has another form there, but a user's own network, of ``flax.linen.Conv`` say, does not. So on a
CPU a loop over convolutions is written out, step by step. A loop that is to be unrolled is written out everywhere,
because JAX's unrolled scan stacks what the gradient needs of each step and then takes it apart again. Every other loop
is a scan.
"""

from __future__ import annotations

__all__ = ["first_step", "on_cpu", "primitives", "scan", "slow_in_loops"]

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from vifx.core.types import Array, PyTree

Carry = TypeVar("Carry")


def on_cpu() -> bool:
    """Return whether programs run on a CPU unless they are told otherwise, by `jax.set_mesh` where one is compiled."""
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and mesh.abstract_device is not None:
        return mesh.abstract_device.platform == "cpu"
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return (jax.default_backend() if device is None else getattr(device, "platform", device)) == "cpu"


def slow_in_loops(function: Any, *arguments: PyTree) -> bool:
    """Return whether a jitted function would be slower in a loop: on a CPU, with a convolution of XLA's inside.

    The function is traced once: calling it with like arguments afterwards, in a loop too, takes that trace.

    Args:
      function: made by `jax.jit`.
    """
    return on_cpu() and "conv_general_dilated" in primitives(function.trace(*arguments).jaxpr.jaxpr)


def first_step(xs: PyTree) -> PyTree:
    """Return the shapes of one step of the arrays that a loop goes over."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)


def scan(
    body: Callable[[Carry, Any], tuple[Carry, Any]],
    carry: Carry,
    xs: PyTree,
    *,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Carry, PyTree]:
    """Scan as `jax.lax.scan` does, written out if it is to be unrolled, or has XLA's convolutions on a CPU.

    The values are the same up to rounding. The written-out form takes longer to compile, in proportion to the length,
    so it is meant for short loops. Either way the body is traced once.

    Args:
      body: ``(carry, x) -> (carry, y)``.
      unroll: how many steps one iteration of the loop holds, as for `jax.lax.scan`.
    """
    body = jax.jit(body)
    length = len(jax.tree.leaves(xs)[0])
    if unroll is True or unroll >= length or slow_in_loops(body, carry, first_step(xs)):
        return _written_out(body, carry, xs, length, reverse)
    return jax.lax.scan(body, carry, xs, reverse=reverse, unroll=unroll)


def _written_out(
    body: Callable[[Carry, Any], tuple[Carry, Any]], carry: Carry, xs: PyTree, length: int, reverse: bool
) -> tuple[Carry, PyTree]:
    rows = jax.tree.map(lambda x: _rows(x, length), xs)
    steps = jax.tree.transpose(jax.tree.structure(xs), jax.tree.structure([0] * length), rows)
    ys = []
    for step in reversed(steps) if reverse else steps:
        carry, y = body(carry, step)
        ys.append(y)
    return carry, jax.tree.map(lambda *each: jnp.stack(each), *(reversed(ys) if reverse else ys))


def _rows(x: Array, length: int) -> list[Array]:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return [x[i] for i in range(length)]  # JAX's check of reused keys does not know what a split is
    # The gradient of a split is one concatenation, that of a slice an array padded with zeros.
    return [row.squeeze(0) for row in jax.lax.split(x, (1,) * length)]


def primitives(jaxpr: Any) -> Iterator[str]:
    """Yield the names of the primitives of a traced program, including those of nested programs.

    Args:
      jaxpr: of `jax.make_jaxpr` or of a traced function, without its constants.
    """
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)  # a ClosedJaxpr holds a jaxpr
                if hasattr(inner, "eqns"):
                    yield from primitives(inner)
