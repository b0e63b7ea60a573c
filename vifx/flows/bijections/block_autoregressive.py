"""Block neural autoregressive flows: each element is mapped by a monotone network of its own."""

from __future__ import annotations

__all__ = ["block_autoregressive"]

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_number, require_widths
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import flattened, rows_of
from vifx.flows.bijections.element_order import checked_order, order_of
from vifx.flows.bijections.root import increasing_root
from vifx.flows.bijections.squashing import log_slope_of_tanh
from vifx.flows.checked import checked

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def block_autoregressive(
    *, hidden: Sequence[int] = (8, 8), order: str | Sequence[int] | None = None, min_slope: float = 1e-3
) -> Bijection:
    """Map each element by a monotone network of it and of those before it, all in one network of block matrices.

    ``z_i = (1 − α_i) x_i + α_i f_i(x_1, …, x_i)`` with a gate ``0 < α_i < 1 − min_slope``. In the network f, an element
    has a block of hidden units in each layer, which sees its own block of the layer below by positive weights and
    those of the elements before by any weights, each row of them normalized and then scaled; between layers there is
    tanh. So f_i increases in x_i, and the Jacobian is triangular:
    ``log|det ∂z/∂x| = Σ_i log(1 − α_i + α_i ∂f_i/∂x_i)`` in nats, where ``log ∂f_i/∂x_i`` is a product of matrices of
    logarithms, layer by layer. The event's elements are one vector.

    Without the gate, as in the paper's last layer, z would be bounded, as f is, and the density would not integrate to
    1; with it z is any number, and the slope at least `min_slope`.

    `forward`, from data to base, is one pass of the network. `inverse` has no closed form: element after element it
    finds the one root, within bounds that follow from those of f, by bisection to the precision of the dtype and two
    steps of Newton's method. It is exact up to rounding, which grows with the map's condition number, and its
    derivatives are those of the implicit function theorem. A sample costs a pass of the network, and for each element
    some thirty (in double precision sixty) of its own block.

    With `given`, a linear map of it, zero at first, is added to the first layer; put a network before by
    `flows.conditioned`. It does not start as the identity.

    Args:
      hidden: how many hidden units an element has in each hidden layer.
      order: a permutation, the first element's index first; None for ``0, 1, 2, …``, ``"reversed"`` for its reverse.
      min_slope: the smallest ``∂z_i/∂x_i``, between 0 and 1.

    Raises:
      ValueError: an argument is out of range; or `order` is not a permutation, for a given event where it is used.

    Reference: De Cao, Titov & Aziz, Block Neural Autoregressive Flow, 2019, arXiv:1904.04676.
    """
    widths = require_widths(hidden, "block_autoregressive: hidden")
    require_number(min_slope, "block_autoregressive: min_slope", above=0, below=1)
    placed = checked_order(order, "block_autoregressive")

    def places(elements: int) -> np.ndarray:
        return np.asarray(order_of(placed, elements, "block_autoregressive"))

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        elements, dtype = len(places(x[0].size)), x.dtype
        params: dict[str, Any] = {"gate": jnp.zeros(elements, dtype)}
        for index, (below, above) in enumerate(itertools.pairwise((1, *widths, 1))):
            drawn = jax.random.normal(jax.random.fold_in(key, index), (elements, below, elements, above), dtype)
            params[f"Block_{index}"] = {
                "kernel": drawn / math.sqrt(elements * below),
                "log_scale": jnp.zeros((elements, above), dtype),
                "bias": jnp.zeros((elements, above), dtype),
            }
        parents = flattened(given, dtype)
        if parents is not None:
            params["given"] = jnp.zeros((parents.shape[1], elements, widths[0]), dtype)
        return params, {}

    def forward(params: PyTree, _state: PyTree, x: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows, own = rows_of(x), places(x[0].size)
        z, log_slope = _mapped(params, rows[:, own], flattened(given, x.dtype), min_slope)
        return z[:, np.argsort(own)].reshape(x.shape), jnp.sum(log_slope, axis=1)

    def inverse(params: PyTree, _state: PyTree, z: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        rows, own, parents = rows_of(z), places(z[0].size), flattened(given, z.dtype)
        x = _unmapped(params, rows[:, own], parents, min_slope)
        _, log_slope = _mapped(params, x, parents, min_slope)
        return x[:, np.argsort(own)].reshape(z.shape), -jnp.sum(log_slope, axis=1)

    return checked("block_autoregressive", init, forward, inverse, scalars=True)


class _Layer(NamedTuple):
    """A block matrix, ``[elements, below, elements, above]``, and the logarithms of its diagonal blocks."""

    weight: Array
    log_diagonal: Array  # [elements, below, above]
    bias: Array  # [examples or 1, elements, above]


def _layers(params: PyTree, parents: Array | None) -> list[_Layer]:
    found = []
    for index in range(len(params) - 1 - ("given" in params)):
        own = params[f"Block_{index}"]
        kernel, bias = own["kernel"], own["bias"][None]
        elements = kernel.shape[0]
        place = np.arange(elements)
        diagonal = kernel[place, :, place, :]  # [elements, below, above]
        lower = (place[:, None] < place[None])[:, None, :, None]
        same = (place[:, None] == place[None])[:, None, :, None]
        free = jnp.where(lower, kernel, 0)
        top = _largest(diagonal, free)  # cancels where rows are normalized
        weight = free * jnp.exp(-jnp.maximum(top, -80))[None, None]
        weight = jnp.where(same, jnp.exp(jnp.where(same, kernel - top[None, None], 0)), weight)
        log_norm = 0.5 * jnp.log(jnp.sum(jnp.square(weight), axis=(0, 1)))
        factor = own["log_scale"] - log_norm  # [elements, above]
        if index == 0 and parents is not None:
            bias = bias + jnp.tensordot(parents, params["given"], axes=1, precision=jax.lax.Precision.HIGHEST)
        found.append(_Layer(weight * jnp.exp(factor)[None, None], diagonal + (factor - top)[:, None], bias))
    return found


def _largest(log_positive: Array, free: Array) -> Array:
    """The logarithm of the largest weight of each unit, ``[elements, above]``, constant for differentiation."""
    size = jnp.max(jnp.abs(jax.lax.stop_gradient(free)), axis=(0, 1))  # its logarithm is −∞ where there are none
    return jnp.maximum(jnp.max(jax.lax.stop_gradient(log_positive), axis=1), jnp.log(size))


def _gates(params: PyTree, min_slope: float) -> tuple[Array, Array]:
    """α and 1 − α, ``[elements]`` each."""
    gate, largest = params["gate"], 1 - min_slope
    return largest * jax.nn.sigmoid(gate), min_slope + largest * jax.nn.sigmoid(-gate)


def _mapped(params: PyTree, x: Array, parents: Array | None, min_slope: float) -> tuple[Array, Array]:
    """All elements in one pass: z and ``log ∂z_i/∂x_i``, ``[examples, elements]`` each, in the order of the network."""
    values, log_slope = x[:, :, None], jnp.zeros_like(x)[:, :, None]
    layers = _layers(params, parents)
    for index, layer in enumerate(layers):
        below, above = layer.log_diagonal.shape[1:]
        flat = _matmul(values.reshape(x.shape[0], -1), layer.weight.reshape(x.shape[1] * below, -1))
        values = flat.reshape(*x.shape, above) + layer.bias
        log_slope = _log_product(log_slope, layer.log_diagonal)
        if index < len(layers) - 1:
            log_slope = log_slope + log_slope_of_tanh(values)
            values = jnp.tanh(values)
    share, rest = _gates(params, min_slope)
    log_share = math.log1p(-min_slope) + jax.nn.log_sigmoid(params["gate"])
    z = rest[None] * x + share[None] * values[:, :, 0]
    return z, jnp.logaddexp(jnp.log(rest)[None], log_share[None] + log_slope[:, :, 0])


def _log_product(log_vector: Array, log_matrix: Array) -> Array:
    """``log(exp(v) exp(M))`` for each element, ``[examples, elements, below] -> [examples, elements, above]``."""
    most = jax.lax.stop_gradient(jnp.max(log_vector, axis=2, keepdims=True))
    largest = jax.lax.stop_gradient(jnp.max(log_matrix, axis=1))
    scaled = jnp.exp(log_matrix - largest[:, None])
    # Every entry is positive, and the largest of each factor is 1: nothing cancels, and what underflows is negligible.
    product = jnp.moveaxis(_matmul(jnp.moveaxis(jnp.exp(log_vector - most), 1, 0), scaled), 0, 1)
    return jnp.log(jnp.maximum(product, jnp.finfo(product.dtype).tiny)) + most + largest[None]


def _unmapped(params: PyTree, z: Array, parents: Array | None, min_slope: float) -> Array:
    """Element after element, each the root of an increasing function of one number."""
    layers = _layers(params, parents)
    columns = [jnp.moveaxis(layer.weight, 2, 0) for layer in layers]  # by the element above
    own = [layer.weight[np.arange(z.shape[1]), :, np.arange(z.shape[1]), :] for layer in layers]
    biases = [jnp.moveaxis(jnp.broadcast_to(layer.bias, (len(z), *layer.bias.shape[1:])), 1, 0) for layer in layers]

    def one(below: list[Array], element: Any) -> tuple[list[Array], None]:
        index, target, share, rest, column, block, bias = element
        # What the elements before contribute; this one's own values, and those after it, are still zero.
        known = [
            term + _matmul(values.reshape(len(z), -1), weight.reshape(-1, weight.shape[-1]))
            for values, weight, term in zip(below, column, bias, strict=True)
        ]

        def hidden(value: Array) -> list[Array]:
            found = [value[:, None]]
            for term, weight in zip(known[:-1], block[:-1], strict=True):
                found.append(jnp.tanh(term + _matmul(found[-1], weight)))
            return found

        def excess(value: Array) -> Array:
            end = known[-1] + _matmul(hidden(value)[-1], block[-1])
            return rest * value + share * end[:, 0] - target

        middle, reach = known[-1][:, 0], jnp.sum(block[-1])  # f is between middle − reach and middle + reach
        lower, upper = ((target - share * (middle + sign * reach)) / rest for sign in (1, -1))
        found = hidden(increasing_root(excess, lower, upper))
        return [
            jax.lax.dynamic_update_index_in_dim(values, value, index, 1)
            for values, value in zip(below, found, strict=True)
        ], None

    start = [jnp.zeros((len(z), z.shape[1], weight.shape[1]), z.dtype) for weight in own]
    indices = jnp.arange(z.shape[1])
    elements = (indices, z.T, *_gates(params, min_slope), columns, own, biases)
    (x, *_), _ = jax.lax.scan(jax.checkpoint(one, prevent_cse=False), start, elements)
    return x[:, :, 0]
