"""Bounds on the log-likelihood over whole splits, with standard errors; bits per dimension."""

from __future__ import annotations

__all__ = ["average_metrics", "bits_per_dim", "elbo", "importance_weighted_bound"]

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.support import check_supports
from vifx.core.types import Array, Key, Loss, Params, State
from vifx.evaluation.batches import example_keys, in_batches
from vifx.evaluation.estimate import Estimate
from vifx.variational import kl


def average_metrics(
    key: Key,
    loss: Loss,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    batch_size: int = 500,
) -> dict[str, Estimate]:
    """Return every metric of a loss, and its value as ``"loss"``, over a split in evaluation mode.

    The loss is mapped over batches of one example, so each metric has a value per example, the mean
    is exact over all examples, and the result depends neither on the batch size nor, beyond the
    noise keys, on the order.

    Args:
      key: gives one key per example.
      loss: of any player of an objective.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis; ``"@weights"`` weigh the examples.
      batch_size: examples at a time.

    Raises:
      ValueError: if the entries of `split` disagree in length.
    """
    rows = in_batches(key, partial(_metric_rows, loss), params, state, split, batch_size=batch_size)
    return {name: Estimate(values, weights=_weights(split)) for name, values in rows.items()}


@partial(jax.jit, static_argnums=0)
def _metric_rows(
    loss: Loss, key: Key, params: Params, state: State, batch: Mapping[str, Array], indices: Array
) -> dict[str, Array]:
    def one(example_key: Key, example: Mapping[str, Array]) -> dict[str, Array]:
        single = jax.tree.map(lambda leaf: leaf[None], example)
        value, aux = loss(example_key, params, state, single, train=False)
        return {"loss": value, **aux.metrics}

    return jax.vmap(one)(example_keys(key, indices), batch)


def elbo(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    samples: int = 1,
    batch_size: int = 500,
) -> dict[str, Estimate]:
    """Return the ELBO, equation (2), and its terms over a whole split, in nats per example.

    The names and terms are `vifx.kl`'s.

    Args:
      key: gives one key per example.
      inference: latents and evidence.
      generative: prior and decoder.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis; ``"@weights"`` weigh the examples.
      samples: draws of the latents for the terms without a closed form.
      batch_size: examples at a time.

    Raises:
      ValueError: if a factor has no density or makes a value impossible, or the entries of `split` disagree in length.
    """
    check_supports(inference, generative, params, state, split)
    rows = in_batches(
        key, partial(_elbo_rows, inference, generative, samples), params, state, split, batch_size=batch_size
    )
    return {name: Estimate(values, weights=_weights(split)) for name, values in rows.items()}


@partial(jax.jit, static_argnums=(0, 1, 2))
def _elbo_rows(
    inference: Joint,
    generative: Joint,
    samples: int,
    key: Key,
    params: Params,
    state: State,
    batch: Mapping[str, Array],
    indices: Array,
) -> dict[str, Array]:
    # Static on the joints, not on a loss made anew at each call: repeated evaluation compiles once.
    loss = kl(inference, generative, samples=samples).players["model"].loss
    return _metric_rows(loss, key, params, state, batch, indices)


def importance_weighted_bound(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    samples: Sequence[int] = (1, 50, 1000),
    chunk: int = 50,
    batch_size: int = 20,
) -> dict[int, Estimate]:
    """Return the bounds ``L_K`` on ``log q(x)`` for several numbers of samples from one set of draws.

    ``L_K = E log (1/K) Σ_k w_k`` with ``log w = Σ log generative(v|pa) − Σ log inference(z|pa)``
    over all factors but the evidence, in nats per example; ``L_K`` rises to ``log q(x)`` (to
    ``log q(x|y)`` with ``y`` as evidence) as K grows. Each ``L_K`` averages over the disjoint blocks of
    K draws that the largest K holds: less noise at small K for nothing, and estimates that never
    fall along K that divide each other and the largest.

    Args:
      key: gives one key per example and draw; the result depends neither on `chunk` nor on `batch_size`
        beyond rounding.
      inference: latents and evidence.
      generative: every variable of `inference`.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis; ``"@weights"`` weigh the examples.
      samples: the numbers K.
      chunk: draws at a time: activations are held for ``batch_size × chunk`` examples, one number
        per draw is kept.
      batch_size: examples at a time.

    Returns:
      ``{K: Estimate}``, per-example values inside.

    Raises:
      ValueError: if a K or `chunk` is not positive, a factor has no density or makes a value impossible, or the
      variables of
        the joints differ.

    Reference: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
    """
    counts = tuple(sorted(set(samples)))
    if not counts or counts[0] < 1:
        raise ValueError(f"samples must be positive numbers of draws, got {tuple(samples)}.")
    require_integer(chunk, "chunk")
    if set(inference.variables) != set(generative.variables):
        raise ValueError(
            "inference and generative must be joints of the same variables, got "
            f"{sorted(inference.variables)} and {sorted(generative.variables)}; conditioning variables are "
            "evidence in both."
        )
    check_supports(inference, generative, params, state, split)
    function = partial(_bound_rows, inference, generative, counts, min(chunk, counts[-1]))
    columns = in_batches(key, function, params, state, split, batch_size=batch_size)
    return {count: Estimate(column, weights=_weights(split)) for count, column in zip(counts, columns, strict=True)}


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _bound_rows(
    inference: Joint,
    generative: Joint,
    counts: tuple[int, ...],
    chunk: int,
    key: Key,
    params: Params,
    state: State,
    batch: Mapping[str, Array],
    indices: Array,
) -> tuple[Array, ...]:
    def one(draw: Array, example_key: Key, example: Mapping[str, Array]) -> Array:
        single = jax.tree.map(lambda leaf: leaf[None], example)
        values = inference.sample(jax.random.fold_in(example_key, draw), params, state, single).values
        terms = generative.log_prob(params, state, values)
        latent_terms = inference.log_prob(params, state, values)
        return jnp.asarray(sum(terms.values()) - sum(latent_terms.values()))[0]

    keys = example_keys(key, indices)
    over_examples = jax.vmap(one, in_axes=(None, 0, 0))
    over_draws = jax.vmap(over_examples, in_axes=(0, None, None))
    draws = np.arange(-(-counts[-1] // chunk) * chunk, dtype=np.uint32).reshape(-1, chunk)
    log_weights = jax.lax.map(lambda part: over_draws(part, keys, batch), jnp.asarray(draws))
    log_weights = log_weights.reshape(-1, len(indices))[: counts[-1]]

    def bound(count: int) -> Array:
        blocks = log_weights[: counts[-1] // count * count].reshape(-1, count, len(indices))
        return (logsumexp(blocks, axis=1) - math.log(count)).mean(axis=0)

    return tuple(bound(count) for count in counts)


def _weights(split: Mapping[str, ArrayLike]) -> NDArray[Any] | None:
    return np.asarray(split[WEIGHTS]) if WEIGHTS in split else None


def bits_per_dim(nll: ArrayLike, event_shape: Sequence[int], *, offset: float = 0.0) -> NDArray[Any]:
    """Convert negative log-likelihoods in nats per example to bits per dimension.

    ``(nll / D + offset) / log 2`` with ``D`` the number of elements of an event. `offset` is in
    nats per dimension: 0 for probabilities of 8-bit pixels (and any discrete event), ``log 256``
    for a density of dequantized 8-bit pixels on [0, 1), which makes it a bound on theirs.

    Args:
      nll: any shape, nats per example.
      event_shape: the shape of one example.
      offset: nats per dimension.

    Returns:
      Bits per dimension, in the shape of `nll`.

    Raises:
      ValueError: if an event has no element.

    >>> import math
    >>> float(bits_per_dim(0.0, (28, 28), offset=math.log(256)))  # the uniform density on [0, 1)
    8.0
    """
    dimensions = math.prod(event_shape)
    if dimensions < 1:
        raise ValueError(f"event_shape must have at least one element, got {tuple(event_shape)}.")
    return (np.asarray(nll, dtype=np.float64) / dimensions + offset) / math.log(2)
