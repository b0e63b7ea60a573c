"""Networks as pairs of pure functions: the adapters to Flax Linen, Flax NNX and plain functions.

This file (and `vifx.networks`, the shipped Linen modules) is the only one that knows a network
library; everything else sees `Net(init, apply)`.
"""

from __future__ import annotations

__all__ = ["as_net", "from_functions", "from_linen", "from_nnx", "in_precision", "is_network"]

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

from vifx.types import Key, Net, PyTree


def from_linen(module: linen.Module) -> Net:
    """Adapt a Flax Linen module.

    The ``"params"`` collection becomes the parameters, every other collection (``"batch_stats"``,
    ...) the state. ``train=`` is passed on when the module's ``__call__`` has that keyword; the key
    serves every random stream that the module asks for, dropout included. State is written in
    training mode alone.

    Args:
      module: an unbound Linen module.

    Raises:
      TypeError: `module` is not a Linen module.
    """
    if not isinstance(module, linen.Module):
        raise TypeError(f"from_linen: module must be a flax.linen.Module, got {type(module).__name__}.")
    has_mode = "train" in inspect.signature(type(module).__call__).parameters

    def mode(train: bool) -> dict[str, Any]:
        return {"train": train} if has_mode else {}

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        variables = dict(module.init(key, *inputs, **mode(False)))
        return variables.pop("params", {}), variables

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        # Linen falls back to the "params" stream for every stream that it is not given.
        rngs = None if key is None else {"params": key}
        variables = {"params": params, **state}
        if not (train and state):
            return module.apply(variables, *inputs, rngs=rngs, **mode(train)), state
        output, written = module.apply(variables, *inputs, rngs=rngs, mutable=list(state), **mode(train))
        return output, {**state, **written}

    return Net(init, apply)


def from_nnx(module: nnx.Module | Callable[..., nnx.Module]) -> Net:
    """Adapt a Flax NNX module.

    `nnx.Param` leaves become the parameters, random streams are refilled from the key of each
    call, everything else (`nnx.BatchStat`, ...) becomes the state.

    Args:
      module: a constructor that is called as ``module(rngs=nnx.Rngs(key))``, so that every
        initialization draws afresh; or an instance, whose present values are the initial ones.

    Raises:
      TypeError: `module` is neither a module nor callable.
    """
    if isinstance(module, nnx.Module):
        construct = lambda key: module  # noqa: E731, ARG005
        abstract = nnx.eval_shape(lambda: nnx.clone(module))
    elif callable(module):
        construct = lambda key: module(rngs=nnx.Rngs(key))  # noqa: E731
        abstract = nnx.eval_shape(lambda: module(rngs=nnx.Rngs(0)))
    else:
        raise TypeError(f"from_nnx: module must be an nnx.Module or a constructor of one, got {type(module).__name__}.")
    _, param_shapes, stream_shapes, rest_shapes = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
    graphs = {}
    for train in (False, True):
        abstract.train() if train else abstract.eval()
        graphs[train] = nnx.graphdef(abstract)

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        del inputs  # NNX modules know their shapes when they are built
        _, params, _, rest = nnx.split(construct(key), nnx.Param, nnx.RngState, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def streams(key: Key | None) -> nnx.State:
        if key is None:
            return stream_shapes  # abstract: evaluation without a key draws nothing, and trying to is an error
        leaves, treedef = jax.tree.flatten(stream_shapes)
        filled = [
            jax.random.fold_in(key, i)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else jnp.zeros(leaf.shape, leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        return jax.tree.unflatten(treedef, filled)

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        if train and key is None and jax.tree.leaves(stream_shapes):
            raise ValueError("from_nnx: this module draws noise in training mode; pass key=.")
        filled_params, filled_rest = _filled(param_shapes, params), _filled(rest_shapes, state)
        # Without copy the merged module would share variables with an outer trace.
        merged = nnx.merge(graphs[train], filled_params, streams(key), filled_rest, copy=True)
        output = merged(*inputs)
        if not train:
            return output, state
        _, _, _, rest = nnx.split(merged, nnx.Param, nnx.RngState, ...)
        return output, nnx.to_pure_dict(rest)

    return Net(init, apply)


def _filled(shapes: nnx.State, values: PyTree) -> nnx.State:
    state = jax.tree.map(lambda leaf: leaf, shapes)
    nnx.replace_by_pure_dict(state, values)
    return state


def from_functions(init: Callable[..., PyTree], apply: Callable[..., Any]) -> Net:
    """Adapt a pair of plain functions without state.

    Args:
      init: ``(key, *inputs) -> params``.
      apply: ``(params, *inputs) -> output``.

    For networks with state, dropout or a mode, build `vifx.types.Net` directly.
    """

    def net_init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        return init(key, *inputs), {}

    def net_apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        del key, train
        return apply(params, *inputs), state

    return Net(net_init, net_apply)


def as_net(network: Net | linen.Module | nnx.Module) -> Net:
    """Return `network` as a `Net`, adapting Linen and NNX modules.

    Raises:
      TypeError: `network` is none of these.
    """
    if isinstance(network, Net):
        return network
    if isinstance(network, linen.Module):
        return from_linen(network)
    if isinstance(network, nnx.Module):
        return from_nnx(network)
    raise TypeError(
        f"as_net: network must be a Net, a flax.linen.Module or an nnx.Module, got {type(network).__name__}; "
        "wrap plain functions with vifx.nets.from_functions."
    )


def is_network(what: object) -> bool:
    """Return whether `as_net` accepts `what`."""
    return isinstance(what, Net | linen.Module | nnx.Module)


def in_precision(network: Net | linen.Module | nnx.Module, dtype: str) -> Net:
    """Compute a network in lower precision, its parameters and its outputs kept in float32.

    Floating parameters and inputs, and unsigned 8-bit inputs (pixels, which are exact in it), are cast to
    `dtype` at the network's door and floating outputs back to float32, so that log-densities and their
    sums, and the state, never leave float32.

    Args:
      network: a `Net`, a Linen module or an NNX module.
      dtype: ``"bfloat16"``, ``"float16"`` or ``"float32"`` (no change).

    Raises:
      ValueError: `dtype` is not one of these.
    """
    if dtype not in ("bfloat16", "float16", "float32"):
        raise ValueError(f"in_precision: dtype must be 'bfloat16', 'float16' or 'float32', got {dtype!r}.")
    net = as_net(network)
    if dtype == "float32":
        return net

    def cast(tree: PyTree, to: str) -> PyTree:
        def leaf(x: Any) -> Any:
            castable = hasattr(x, "dtype") and (jnp.issubdtype(x.dtype, jnp.floating) or x.dtype == jnp.uint8)
            return x.astype(to) if castable else x

        return jax.tree.map(leaf, tree)

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        output, state = net.apply(cast(params, dtype), state, *cast(inputs, dtype), key=key, train=train)
        return cast(output, "float32"), cast(state, "float32")

    return Net(net.init, apply)
