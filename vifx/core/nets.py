"""Networks as pairs of pure functions: the adapters to Flax Linen, Flax NNX and plain functions.

This file (and `vifx.networks`, the shipped Linen modules) is the only one that knows a network
library; everything else sees `Net(init, apply)`.
"""

from __future__ import annotations

__all__ = [
    "as_net",
    "cast_floats",
    "from_functions",
    "from_linen",
    "from_nnx",
    "in_mode",
    "in_precision",
    "is_network",
    "rematerialized",
]

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen

from vifx.checks import require_choice
from vifx.core.module_mode import MODES, in_mode, is_nnx
from vifx.core.types import Key, Net, PyTree

if TYPE_CHECKING:
    from flax import nnx  # imported by whoever makes a module of it


def from_linen(module: linen.Module) -> Net:
    """Adapt a Flax Linen module.

    The ``"params"`` collection becomes the parameters, every other collection (``"batch_stats"``,
    ...) the state. The mode is passed on by every name that `in_mode` knows, whether it is an argument
    of ``__call__`` or an attribute of the module; the key serves every random stream that the module
    asks for, dropout included. State is written in training mode alone.

    Raises:
      TypeError: `module` is not a Linen module.
      ValueError: from `init`, a layer stays in training mode, or has no mode, in evaluation.
    """
    if not isinstance(module, linen.Module):
        raise TypeError(f"from_linen: module must be a flax.linen.Module, got {type(module).__name__}.")
    modules = {train: _with_mode(module, train) for train in (False, True)}

    def mode(train: bool) -> dict[str, Any]:
        return in_mode(module, train=train)

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        with linen.intercept_methods(_refuse_training(type(module).__name__)):
            variables = dict(modules[False].init(key, *inputs, **mode(False)))
        return variables.pop("params", {}), variables

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        # Linen falls back to the "params" stream for every stream that it is not given.
        rngs = None if key is None else {"params": key}
        variables = {"params": params, **state}
        if not (train and state):
            return modules[train].apply(variables, *inputs, rngs=rngs, **mode(train)), state
        output, written = modules[train].apply(variables, *inputs, rngs=rngs, mutable=list(state), **mode(train))
        return output, {**state, **written}

    return Net(init, apply)


def _with_mode(module: linen.Module, train: bool) -> linen.Module:
    """Return a module whose attributes say the mode, where it has any that its ``__call__`` is not given."""
    given = in_mode(module, train=train)
    own: dict[str, Any] = {
        field.name: None if field.name in given else train == MODES[field.name]
        for field in dataclasses.fields(module)
        if field.name in MODES and isinstance(getattr(module, field.name), bool | None)
    }
    return module.clone(**own) if own else module


def _refuse_training(whole: str) -> Callable[..., Any]:
    """Return an interceptor of evaluation that refuses a layer which is not told, or told otherwise."""

    def intercept(function: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if context.method_name == "__call__":
            bound = inspect.signature(type(layer).__call__).bind_partial(layer, *args, **kwargs)
            bound.apply_defaults()
            for name, training in MODES.items():
                if name not in bound.arguments and not hasattr(layer, name):
                    continue
                value = bound.arguments.get(name)
                value = getattr(layer, name, None) if value is None else value
                untold = value is None and isinstance(layer, linen.Dropout | linen.BatchNorm)
                idle = getattr(layer, "rate", getattr(layer, "dropout_rate", None)) == 0
                if untold or (value is training and not idle):
                    raise ValueError(
                        f"{whole}: {'/'.join(layer.path) or type(layer).__name__}, a {type(layer).__name__}, has "
                        f"{name}={value} in evaluation mode, so that dropout or the statistics of the batch would stay "
                        f"on. Give {whole}.__call__ an argument train, and pass it on to each such layer: "
                        "Dropout(rate, deterministic=not train), BatchNorm(use_running_average=not train)."
                    )
        return function(*args, **kwargs)

    return intercept


def from_nnx(module: nnx.Module | Callable[..., nnx.Module]) -> Net:
    """Adapt a Flax NNX module.

    `nnx.Param` leaves become the parameters, random streams are refilled from the key of each
    call, everything else (`nnx.BatchStat`, ...) becomes the state. The mode is passed on to ``__call__`` by
    every name that `in_mode` knows, and set by the module's ``train()`` and ``eval()`` and on attributes of
    these names.

    Args:
      module: a constructor that is called as ``module(rngs=nnx.Rngs(key))``, so that every
        initialization draws afresh; or an instance, whose present values are the initial ones.

    Raises:
      TypeError: `module` is neither a module nor callable.
    """
    from flax import nnx

    if is_nnx(module):
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
        _set_mode(abstract, train)
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
        output = merged(*inputs, **in_mode(merged, train=train))
        if not train:
            return output, state
        _, _, _, rest = nnx.split(merged, nnx.Param, nnx.RngState, ...)
        return output, nnx.to_pure_dict(rest)

    return Net(init, apply)


def _set_mode(module: nnx.Module, train: bool) -> None:
    from flax import nnx

    switch = getattr(module, "train" if train else "eval")
    if callable(switch):  # an attribute may have the method's name
        switch()
    for _, part in nnx.iter_modules(module):
        for name in MODES.keys() & vars(part).keys():
            if isinstance(getattr(part, name), bool | None):
                setattr(part, name, train == MODES[name])


def _filled(shapes: nnx.State, values: PyTree) -> nnx.State:
    from flax import nnx

    state = jax.tree.map(lambda leaf: leaf, shapes)
    nnx.replace_by_pure_dict(state, values)
    return state


def from_functions(init: Callable[..., PyTree], apply: Callable[..., Any]) -> Net:
    """Adapt a pair of plain functions without state.

    Args:
      init: ``(key, *inputs) -> params``.
      apply: ``(params, *inputs) -> output``; it also gets the key and the mode, if it has an argument ``key`` or one
        of those of `in_mode`.

    For networks with state, build `vifx.core.types.Net` directly.
    """
    with_key = "key" in inspect.signature(apply).parameters

    def net_init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        return init(key, *inputs), {}

    def net_apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        noise = {"key": key} if with_key else {}
        return apply(params, *inputs, **noise, **in_mode(apply, train=train)), state

    return Net(net_init, net_apply)


def as_net(network: Net | linen.Module | nnx.Module) -> Net:
    """Return `network` as a `Net`, adapting Linen and NNX modules.

    Raises:
      TypeError: `network` is none of these, or a `Net` of functions that do not have its contract.
    """
    if isinstance(network, Net):
        return _checked(network)
    if isinstance(network, linen.Module):
        return from_linen(network)
    if is_nnx(network):
        return from_nnx(network)
    raise TypeError(
        f"as_net: network must be a Net, a flax.linen.Module or an nnx.Module, got {type(network).__name__}; "
        "wrap plain functions with vifx.nets.from_functions."
    )


def _checked(net: Net) -> Net:
    for name in ("init", "apply"):
        if not callable(getattr(net, name)):
            raise TypeError(f"Net: {name} must be a function, got {type(getattr(net, name)).__name__}.")
    parameters = inspect.signature(net.apply).parameters
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    if lacking := [name for name in ("key", "train") if name not in parameters and not anything]:
        raise TypeError(
            f"Net: apply must be (params, state, *inputs, key=None, train=False) -> (output, state), and has no "
            f"argument {' and no '.join(lacking)}; make a network of plain functions init(key, *inputs) -> params and "
            "apply(params, *inputs) -> output with vifx.nets.from_functions(init, apply)."
        )
    return net


def is_network(what: object) -> bool:
    """Return whether `as_net` accepts `what`."""
    return isinstance(what, Net | linen.Module) or is_nnx(what)


def in_precision(network: Net | linen.Module | nnx.Module, dtype: str) -> Net:
    """Compute a network in lower precision with its parameters and its outputs in float32, or all of it in float64.

    In lower precision, floating parameters and inputs, and unsigned 8-bit inputs (pixels, which are exact in it), are
    cast to `dtype` at the network's door and floating outputs back to float32, so that log-densities and their
    sums, and the state, never leave float32. In float64 the parameters and the state are made in it, and inputs and
    outputs are cast to it.

    Args:
      network: a `Net`, a Linen module or an NNX module.
      dtype: ``"bfloat16"``, ``"float16"``, ``"float32"`` (no change) or ``"float64"``.

    Raises:
      ValueError: `dtype` is not one of these, or ``"float64"`` outside of ``jax.enable_x64(True)``.
    """
    require_choice(dtype, ("bfloat16", "float16", "float32", "float64"), "in_precision: dtype")
    net = as_net(network)
    if dtype == "float32":
        return net
    if dtype == "float64":
        return _in_double(net)
    inside, outside = partial(cast_floats, dtype=dtype, pixels=True), partial(cast_floats, dtype="float32", pixels=True)

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        output, state = net.apply(inside(params), state, *inside(inputs), key=key, train=train)
        return outside(output), outside(state)

    return Net(net.init, apply)


def _in_double(net: Net) -> Net:
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("in_precision: float64 needs double precision to be enabled; use it in jax.enable_x64(True)")
    double = partial(cast_floats, dtype="float64")

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        with jax.enable_x64(False):  # in which modules make their parameters
            single = net.init(key, *cast_floats(inputs, "float32"))
        return double(single)

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return double(net.apply(double(params), double(state), *double(inputs), key=key, train=train))

    return Net(init, apply)


def cast_floats(tree: PyTree, dtype: str, *, pixels: bool = False) -> PyTree:
    """Return a tree with its floating-point arrays in another precision, and with `pixels` its unsigned bytes too."""

    def leaf(x: Any) -> Any:
        castable = hasattr(x, "dtype") and (jnp.issubdtype(x.dtype, jnp.floating) or (pixels and x.dtype == jnp.uint8))
        return x.astype(dtype) if castable else x

    return jax.tree.map(leaf, tree)


def rematerialized(network: Net | linen.Module | nnx.Module) -> Net:
    """Compute a network again for its gradient rather than keep what is inside it.

    The gradient then holds the network's inputs instead of its activations, for about a third more operations; values
    and gradients are the same. Of several networks, each is computed again when its turn comes, so that no two are
    held at once. XLA's compiler for CPUs undoes it outside of loops; `flows.stack` is one, and has an option of its
    own.

    Args:
      network: a `Net`, a Linen module or an NNX module, whose output is a tree of arrays, such as a distribution.

    Reference: Chen et al. (2016), Training deep nets with sublinear memory cost, arXiv:1604.06174.
    """
    net = as_net(network)

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        def run(params: PyTree, state: PyTree, inputs: Any, key: Key | None) -> tuple[Any, PyTree]:
            return net.apply(params, state, *inputs, key=key, train=train)

        return jax.checkpoint(run)(params, state, inputs, key)

    return Net(net.init, apply)
