"""Networks of dense layers whose Lipschitz constant is below a given one at every parameter."""

from __future__ import annotations

__all__ = ["contraction"]

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_widths
from vifx.core.nets import as_net, is_network
from vifx.core.types import Array, Key, Net, PyTree
from vifx.flows.bijections.condition import flattened, parents, rows_of
from vifx.lipschitz.kernels import path_name, replaced

_LIPSWISH = 1.1  # above the largest slope of t·sigmoid(t), which is 1.0998


def contraction(body: Any, lipschitz: float) -> Net:
    """Return a network g of ``(rows, given)`` with ``‖g(x₁) − g(x₂)‖ ≤ lipschitz · ‖x₁ − x₂‖`` and its input's shape.

    Each kernel is applied as ``W · min(1, c/‖W‖₂)``, ``c = lipschitz^(1/layers)``, with ‖W‖₂ from an eigenvalue
    decomposition, not from a power iteration: so the product of the layers' norms is at most `lipschitz`, and that
    is exact up to rounding at every parameter. The gradient of ‖W‖₂ is ``u vᵀ``.

    Args:
      body: hidden widths, for dense layers with LipSwish between them and the last one zero at first; or a network
        of ``(x, *given)`` made of dense layers and 1-Lipschitz activations, for which the caller is responsible.

    Raises:
      TypeError: `body` is neither.
      ValueError: a width is not positive; or, from `init`, the network has a parameter that is neither a bias nor a
        dense layer's kernel, or its output does not have its input's shape.
    """
    if is_network(body):
        return _adapted(as_net(body), lipschitz)
    return _shipped(require_widths(body, "residual_block: body that is not a network"), lipschitz)


def _shipped(hidden: tuple[int, ...], lipschitz: float) -> Net:
    coefficient = lipschitz ** (1 / (len(hidden) + 1))

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        size, dtype = x[0].size, x.dtype
        widths, params = [size, *hidden, size], {}
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            drawn = jax.random.normal(jax.random.fold_in(key, index), (fan_in, fan_out), dtype) / math.sqrt(fan_in)
            last = index == len(hidden)
            params[f"Dense_{index}"] = {
                "kernel": jnp.zeros_like(drawn) if last else drawn,
                "bias": jnp.zeros(fan_out, dtype),
            }
            if not last:
                params[f"LipSwish_{index}"] = {"sharpness": jnp.full((), 0.5, dtype)}
        condition = flattened(given, dtype)
        if condition is not None:
            drawn = jax.random.normal(jax.random.fold_in(key, len(widths)), (condition.shape[1], hidden[0]), dtype)
            params["given"] = drawn / math.sqrt(condition.shape[1])
        return params, {}

    def apply(
        params: PyTree, state: PyTree, x: Array, given: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        del key, train
        condition, rows = flattened(given, x.dtype), rows_of(x)
        for index in range(len(hidden) + 1):
            layer = params[f"Dense_{index}"]
            rows = rows @ _bounded(layer["kernel"], coefficient) + layer["bias"][None]
            if index == 0 and condition is not None:
                rows = rows + condition @ params["given"]
            if index < len(hidden):
                rows = _lipswish(rows, params[f"LipSwish_{index}"]["sharpness"])
        return rows.reshape(x.shape), state

    return Net(init, apply)


def _lipswish(x: Array, sharpness: Array) -> Array:
    """``t·sigmoid(s·t)/1.1`` with ``s = softplus(sharpness)``: its slope is below 1 whatever s > 0 is."""
    return x * jax.nn.sigmoid(jax.nn.softplus(sharpness) * x) / _LIPSWISH


def _adapted(net: Net, lipschitz: float) -> Net:
    def bounded(params: PyTree) -> PyTree:
        kernels = {}
        for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
            path = path_name(keys)
            name = path.rpartition("/")[2]
            if name == "kernel" and leaf.ndim == 2:
                kernels[path] = leaf
            elif name != "bias":
                raise ValueError(
                    f"residual_block: the body's {path!r} of shape {list(leaf.shape)} is neither a bias nor a dense "
                    "layer's kernel, so its Lipschitz constant is unknown; use dense layers and 1-Lipschitz "
                    "activations, or give hidden widths."
                )
        if not kernels:
            raise ValueError("residual_block: the body has no kernel to bound; give dense layers or hidden widths.")
        coefficient = lipschitz ** (1 / len(kernels))
        return replaced(params, {path: _bounded(kernel, coefficient) for path, kernel in kernels.items()})

    def apply(
        params: PyTree, state: PyTree, x: Array, given: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        del key, train
        output, _ = net.apply(bounded(params), state, x, *parents(given))
        if output.shape != x.shape:
            raise ValueError(
                f"residual_block: the body maps {list(x.shape)} to {list(output.shape)}; it is added to its input, so "
                "its last layer must have as many features as that."
            )
        return output, state

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        params, state = net.init(key, x, *parents(given))
        jax.eval_shape(apply, params, state, x, given)
        return params, state

    return Net(init, apply)


def _bounded(kernel: Array, coefficient: float) -> Array:
    """Scale a kernel down to spectral norm `coefficient` if it is above."""
    fixed = jax.lax.stop_gradient(kernel)
    tall = kernel.shape[0] > kernel.shape[1]
    gram = jnp.matmul(fixed.T, fixed, precision="highest") if tall else jnp.matmul(fixed, fixed.T, precision="highest")
    top = jnp.linalg.eigh(gram)[1][:, -1]
    image = jnp.matmul(kernel, top, precision="highest") if tall else jnp.matmul(top, kernel, precision="highest")
    square = jnp.sum(jnp.square(image))
    above = square > coefficient**2
    return kernel * jnp.where(above, coefficient / jnp.sqrt(jnp.where(above, square, 1)), 1)
