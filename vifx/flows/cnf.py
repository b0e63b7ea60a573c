"""Continuous normalizing flows with a velocity network of their own."""

from __future__ import annotations

__all__ = ["cnf"]

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_widths
from vifx.core.nets import from_functions
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import flattened
from vifx.flows.bijections.continuous import continuous


def cnf(
    *,
    hidden: Sequence[int] = (64, 64),
    steps: int = 16,
    time: float = 1.0,
    method: str = "rk4",
    trace: str = "exact",
    activation: Callable[[Array], Array] = jax.nn.tanh,
    solver: Any = None,
    tolerance: float = 1e-5,
) -> Bijection:
    """Return the flow of a velocity network whose layers are gated by the time: FFJORD's on vectors.

    Each layer is ``(h W + b) ⊙ σ(c G + a) + c S`` with c the time beside `given`, and the activation between layers.
    The last one is zero at first, so that the flow starts as the identity. Several of them one after another are
    ``flows.stack(flows.cnf(), depth)``.

    Args:
      hidden: widths of the hidden layers.
      steps: how many steps of the method, as in `continuous`.
      time: the length of the path.
      method: ``"rk4"``, ``"heun"``, ``"midpoint"`` or ``"euler"``, as in `continuous`.
      trace: ``"exact"``, or ``"hutchinson"``, FFJORD's estimate, which needs `key`.
      activation: the nonlinearity, smooth, as the method's order rests on derivatives.
      solver: None for the Runge–Kutta method, or an adaptive diffrax solver such as ``diffrax.Tsit5()``, as in
        `continuous`.
      tolerance: relative and absolute tolerance of a step of `solver`.

    Raises:
      ValueError: an argument is out of range.
      TypeError: `solver` is neither None nor an adaptive solver's instance.
      ImportError: a solver is given and diffrax is not installed.

    References: Chen et al. (2018), arXiv:1806.07366; Grathwohl et al. (2019), arXiv:1810.01367.
    """
    widths = require_widths(hidden, "cnf: hidden")

    def init(key: Key, x: Array, now: Array, *given: Any) -> PyTree:
        size, context = x[0].size, _context(now, given)
        params = {}
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise((size, *widths, size))):
            own = jax.random.fold_in(key, index)
            params[f"Gated_{index}"] = {
                name: jax.random.normal(jax.random.fold_in(own, number), (rows, fan_out), x.dtype) / math.sqrt(rows)
                for number, (name, rows) in enumerate(
                    [("kernel", fan_in), ("gate", context.shape[1]), ("shift", context.shape[1])]
                )
            } | {"bias": jnp.zeros(fan_out, x.dtype), "gate_bias": jnp.zeros(fan_out, x.dtype)}
        last = params[f"Gated_{len(widths)}"]
        last |= {"kernel": jnp.zeros_like(last["kernel"]), "shift": jnp.zeros_like(last["shift"])}
        return params

    def apply(params: PyTree, x: Array, now: Array, *given: Any) -> Array:
        rows, context = x.reshape(x.shape[0], -1), _context(now, given)
        for index in range(len(widths) + 1):
            layer = params[f"Gated_{index}"]
            gate = jax.nn.sigmoid(context @ layer["gate"] + layer["gate_bias"][None])
            rows = (rows @ layer["kernel"] + layer["bias"][None]) * gate + context @ layer["shift"]
            rows = activation(rows) if index < len(widths) else rows
        return rows.reshape(x.shape)

    options: Any = {"method": method, "trace": trace, "solver": solver, "tolerance": tolerance}
    return continuous(from_functions(init, apply), steps=steps, time=time, **options)


def _context(now: Array, given: tuple[Any, ...]) -> Array:
    parents = flattened(given, now.dtype)
    return now if parents is None else jnp.concatenate([now, parents], axis=1)
