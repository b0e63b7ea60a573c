"""Gradient penalties on any network of any loss, in supervised training too."""

from __future__ import annotations

__all__ = ["penalized"]

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.examples import example_mean, example_shares, stand_ins
from vifx.core.nets import as_net
from vifx.core.types import Array, Aux, Batch, Key, Loss, Params, PyTree, State
from vifx.lipschitz.kernels import chosen, floating
from vifx.lipschitz.penalty import Penalty


def penalized(
    network_name: str,
    network: Any,
    penalty: Penalty,
    *,
    entries: Sequence[str] = ("x",),
    label: str | None = None,
    output: Callable[[Any], Array] | None = None,
) -> Callable[[Loss], Loss]:
    """Add a gradient penalty on a network's output with respect to entries of the batch to a loss.

    The penalty's critic is a scalar function of the network's output f(x): f itself for outputs ``[examples]``.
    For ``[examples, ...]`` it is ``⟨u, f(x)⟩`` with u uniform on the unit sphere, drawn for each example, so that its
    gradient ``Jᵀu`` has ``E‖Jᵀu‖² = ‖J‖_F² / outputs`` and is never longer than ``‖J‖₂``; or, with `label`,
    ``Σ_k y_k f_k(x)``, the logit of the example's class.

    A is the batch, B the same examples in random order: `gradient_penalty` looks at random points between pairs of
    examples (with the label of the first). The network is evaluated as it is used, with running statistics and
    without dropout, whatever the loss's mode, and writes no state.

    Metrics: those of the penalty.

    Args:
      network_name: the network's name in the parameters.
      network: the `Net`, Linen or NNX module of that name.
      penalty: `gradient_penalty`, `r1` or another.
      entries: the entries of the batch that the network takes, in order.
      label: an entry with class indices ``[examples]`` or weights ``[examples, classes]``.
      output: what to take of the network's output if that is not an array, such as ``lambda d: d.logits``.

    Raises:
      ValueError: from the loss, the network is unknown or the batch lacks an entry.
      TypeError: `network` is not a network; or, from the loss, its output is not an array.
    """
    net, names, function = as_net(network), tuple(entries), "penalized"

    def transform(loss: Loss) -> Loss:
        def with_penalty(
            key: Key, params: Params, state: State, batch: Batch, *, train: bool = True
        ) -> tuple[Array, Aux]:
            shuffle, noise, direction = (
                jax.random.fold_in(key, zlib.crc32(f"lipschitz/{part}/{network_name}".encode()))
                for part in ("shuffle", "noise", "direction")
            )
            at_a = tuple(_entries(batch, names))
            order = jax.random.permutation(shuffle, at_a[0].shape[0])
            at_b = tuple(x[order] for x in at_a)
            own: PyTree = chosen(params, network_name, function)[network_name]
            labels = None if label is None else _entries(batch, (label,))[0]

            def critic(*inputs: Array) -> Array:
                values, _ = net.apply(own, state.get(network_name, {}), *inputs, train=False)
                return _scalar(direction, values if output is None else output(values), labels)

            added, metrics = penalty(noise, critic, at_a, at_b)
            value, aux = loss(key, params, state, batch, train=train)
            shares = example_shares(batch)
            metrics = {name: example_mean(shares, each) for name, each in metrics.items()}
            added = example_mean(shares, added).astype(value.dtype)
            return value + added, aux._replace(metrics={**aux.metrics, **metrics})

        return with_penalty

    return transform


def _entries(batch: Batch, names: tuple[str, ...]) -> list[Array]:
    for name in names:
        if name not in batch:
            raise ValueError(f"penalized: the batch has no entry {name!r}; there are: {', '.join(map(repr, batch))}")
    known = stand_ins(batch, names)
    return [known[name] for name in names]


def _scalar(key: Key, values: Any, labels: Array | None) -> Array:
    """One number per example: the output itself, the label's, or that in a random direction."""
    if not hasattr(values, "ndim"):
        raise TypeError(
            f"penalized: the network's output must be an array, got {type(values).__name__}; give output=, such as "
            "lambda distribution: distribution.logits"
        )
    if labels is not None:
        if values.ndim != 2:
            raise ValueError(f"penalized: label= needs outputs [examples, classes], but their shape is {values.shape}")
        if not floating(labels):
            return jnp.take_along_axis(values, labels.reshape(-1, 1), axis=1)[:, 0]
        return jnp.sum(values * labels.astype(values.dtype), axis=1)
    if values.ndim == 1:
        return values
    flat = values.reshape(values.shape[0], -1)
    normal = jax.random.normal(key, flat.shape, flat.dtype)
    return jnp.sum(flat * (normal / jnp.linalg.norm(normal, axis=1, keepdims=True)), axis=1)
