"""Gradient accumulation: a large batch in the memory of a small one."""

from __future__ import annotations

__all__ = ["accumulated"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from vifx.checks import require_integer
from vifx.core.examples import WEIGHTS, example_shares
from vifx.core.types import Array, Aux, Batch, Key, Loss, Params, PyTree, State
from vifx.loops import scan
from vifx.training.reduce import mean_metrics
from vifx.training.step import Step, one_update


def accumulated(step: Step, microbatches: int) -> Step:
    """Compute every loss of a step, and its gradient, over microbatches one after the other.

    With the minibatch divided into M parts of equal size, loss = (1/M) Σ_m loss_m and ∇loss = (1/M) Σ_m ∇loss_m: equal
    to the large batch for a loss that is a mean over examples and draws no noise. Where examples have weights, each
    part counts by the sum of its own. Each part's gradient is taken inside one `lax.scan`, so the memory is that of
    one part. Part m is the examples m, m + M, m + 2M, …, with key ``fold_in(key, m)``.

    Every part sees the same incoming state; of the states that come out, floating-point leaves
    are averaged likewise and others taken from the last part (so batch statistics are the mean of
    the parts' statistics). Metrics are averaged (integers: the largest).

    Raises:
      TypeError: if `step` is not a step, or `microbatches` not an integer.
      ValueError: if `microbatches` is not positive, the step is scanned or has no loss (`solve` adds up the
        statistics of chunks by itself), or, when it is traced, a minibatch does not divide.
    """
    one_update(step, "accumulated")
    require_integer(microbatches, "accumulated: microbatches")
    losses: list[Loss] = []

    def transform(loss: Loss) -> Loss:
        losses.append(loss)
        return _accumulate(loss, microbatches)

    rebuilt = step.rebuild(transform)
    if not losses:
        raise ValueError(
            "accumulated: the step has no loss whose gradient is taken; training.solve adds up statistics over chunks "
            "of examples, solve(..., chunk=2048), in the memory of one"
        )
    return rebuilt


def _accumulate(loss: Loss, microbatches: int) -> Loss:
    def accumulating(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        parts = _divide(batch, microbatches)

        @jax.custom_vjp
        def value(params: Params) -> tuple[Array, Aux]:
            total, aux, _ = _mean(lambda k, part: (*loss(k, params, state, part, train=train), {}), key, parts)
            return total, aux

        # The gradient is final when the forward pass ends: nothing of a part outlives it.
        def forward(primals: PyTree) -> tuple[tuple[Array, Aux], dict[int, Array]]:
            leaves, tree = jax.tree.flatten(primals, is_leaf=lambda leaf: isinstance(leaf, CustomVJPPrimal))
            moving = {i: leaf.value for i, leaf in enumerate(leaves) if leaf.perturbed}

            def one(k: Key, part: Batch) -> tuple[Array, Aux, dict[int, Array]]:
                def of(moving: dict[int, Array]) -> tuple[Array, Aux]:
                    whole = [moving.get(i, leaf.value) for i, leaf in enumerate(leaves)]
                    return loss(k, jax.tree.unflatten(tree, whole), state, part, train=train)

                (total, aux), gradient = jax.value_and_grad(of, has_aux=True)(moving)
                return total, aux, gradient

            total, aux, gradient = _mean(one, key, parts)
            return (total, aux), gradient

        def backward(gradient: dict[int, Array], cotangent: tuple[Array | SymbolicZero, Any]) -> tuple[PyTree]:
            scale, tree = cotangent[0], jax.tree.structure(params)
            if isinstance(scale, SymbolicZero):
                return (None,)
            leaves = [
                scale.astype(gradient[i].dtype) * gradient[i] if i in gradient else None for i in range(tree.num_leaves)
            ]
            return (jax.tree.unflatten(tree, leaves),)

        value.defvjp(forward, backward, symbolic_zeros=True)
        total, aux = value(params)
        return total, jax.lax.stop_gradient(aux)

    return accumulating


def _divide(batch: Batch, microbatches: int) -> Batch:
    for name, value in batch.items():
        if value.shape[0] % microbatches:
            raise ValueError(
                f"a minibatch of {value.shape[0]} examples ({name!r}) does not divide into {microbatches} "
                "microbatches; choose a divisor of the batch size"
            )
    # Strided, so that a batch sharded over devices leaves each microbatch sharded over all of them.
    return {
        name: jnp.moveaxis(value.reshape(-1, microbatches, *value.shape[1:]), 1, 0) for name, value in batch.items()
    }


def _mean(
    function: Callable[[Key, Batch], tuple[Array, Aux, PyTree]], key: Key, parts: Batch
) -> tuple[Array, Aux, PyTree]:
    """Average ``function(key, part) -> (value, aux, gradient)`` over the parts, in one scan."""
    count = next(iter(parts.values())).shape[0]
    sums = {WEIGHTS: jnp.sum(parts[WEIGHTS], axis=1)} if WEIGHTS in parts else {}
    shares = example_shares(sums)
    first = {name: value[0] for name, value in parts.items()}
    value, aux, gradient = jax.eval_shape(function, key, first)
    tree = jax.tree.structure(aux.state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (value, _floats(aux.state), gradient))

    def body(total: PyTree, turn: tuple[Array, Array, Batch]) -> tuple[PyTree, PyTree]:
        i, share, part = turn
        value, aux, gradient = function(jax.random.fold_in(key, i), part)
        new = value, _floats(aux.state), gradient
        total = jax.tree.map(lambda old, leaf: old + share.astype(leaf.dtype) * leaf, total, new)
        return total, (aux.metrics, _floats(aux.state, others=True))

    each = jnp.full(count, 1 / count) if shares is None else shares
    (value, floats, gradient), (metrics, rest) = scan(body, zeros, (jnp.arange(count), each, parts))
    last = {i: leaf[-1] for i, leaf in rest.items()}
    leaves = [floats[i] if i in floats else last[i] for i in range(tree.num_leaves)]
    return value, Aux(mean_metrics(metrics, shares), jax.tree.unflatten(tree, leaves)), gradient


def _floats(tree: PyTree, *, others: bool = False) -> dict[int, Any]:
    leaves = enumerate(jax.tree.leaves(tree))
    return {i: leaf for i, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact) != others}
