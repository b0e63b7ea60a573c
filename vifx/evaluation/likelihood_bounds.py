"""Bounds on the log-likelihood over whole splits, in nats, with standard errors."""

from __future__ import annotations

__all__ = ["Bounds", "average_metrics", "elbo", "importance_weighted_bound", "measure_bounds", "monitor_loss"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from vifx.core.objective import Objective
from vifx.core.support import check_supports
from vifx.core.types import Array, Aux, Batch, Key, Loss, Params, State
from vifx.data import Split, Transform
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.latents import active_units, encode
from vifx.evaluation.likelihood import bits_per_dim
from vifx.evaluation.measure import Measure, unmeasured
from vifx.evaluation.rate_parts import measure_information
from vifx.variational import kl


@dataclass(frozen=True, eq=False, repr=False)
class Bounds(Estimate):
    """The importance-weighted bound of many samples, with those of fewer that the same draws give.

    Attributes:
      curve: ``{K: Estimate}``, of powers of two up to the number of samples, and of that.
    """

    curve: Mapping[int, Estimate] = field(default_factory=dict)


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
def _metric_rows(loss: Loss, rows: Rows) -> dict[str, Array]:
    def one(key: Key, example: Batch) -> dict[str, Array]:
        value, aux = loss(key, rows.params, rows.state, example, train=False)
        return {name: metric[None] for name, metric in {"loss": value, **aux.metrics}.items()}

    return rows.each(one)


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
def _elbo_rows(inference: Joint, generative: Joint, samples: int, rows: Rows) -> dict[str, Array]:
    # Static on the joints, not on a loss made anew at each call: repeated evaluation compiles once.
    return _metric_rows(kl(inference, generative, samples=samples).players["model"].loss, rows)


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
        variables of the joints differ.

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
    inference: Joint, generative: Joint, counts: tuple[int, ...], chunk: int, rows: Rows
) -> tuple[Array, ...]:
    def drawn(draw: Array) -> Array:
        def one(key: Key, example: Batch) -> Array:
            values = inference.sample(jax.random.fold_in(key, draw), rows.params, rows.state, example).values
            terms, latent_terms = (joint.log_prob(rows.params, rows.state, values) for joint in (generative, inference))
            return jnp.asarray(sum(terms.values()) - sum(latent_terms.values()))

        return rows.each(one)

    examples = len(rows.indices)
    draws = np.arange(-(-counts[-1] // chunk) * chunk, dtype=np.uint32).reshape(-1, chunk)
    log_weights = jax.lax.map(jax.vmap(drawn), jnp.asarray(draws)).reshape(-1, examples)[: counts[-1]]

    def bound(count: int) -> Array:
        blocks = log_weights[: counts[-1] // count * count].reshape(-1, count, examples)
        return (logsumexp(blocks, axis=1) - math.log(count)).mean(axis=0)

    return tuple(bound(count) for count in counts)


def monitor_loss(objective: Objective, split: Split, *, transform: Transform | None = None) -> Measure:
    """Measure every metric of the model's loss on a split, in evaluation mode.

    Args:
      objective: what is trained.
      split: usually the validation split.
      transform: of the examples, as the source of training has it, such as `data.dequantize`.
    """
    if not len(next(iter(split.values()))):
        return unmeasured
    loss = objective.players["model"].loss
    if transform is not None:
        loss = _transformed(loss, transform)
    return lambda key, params, state: average_metrics(key, loss, params, state, split)


def _transformed(loss: Loss, transform: Transform) -> Loss:
    def changed(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        own, noise = jax.random.split(key)
        return loss(own, params, state, transform(noise, batch), train=train)

    return changed


def measure_bounds(
    inference: Joint,
    generative: Joint,
    split: Split,
    *,
    samples: Sequence[int] = (1, 50, 1000),
    examples: int | None = None,
    latent: str = "z",
) -> Measure:
    """Measure the ELBO and its terms, the importance-weighted bounds, and what the latents hold, on a split.

    ``iwae/K`` is the bound with K samples, in nats per example; the last of them has the whole curve up to it, see
    `Bounds`, which the report draws. All but the ELBO and the latents, which are cheap, are taken on the first
    `examples` examples. Where the decoder gives 8-bit pixels probabilities, ``bits_per_dim`` and
    ``bits_per_dim/iwae/K`` are what −ELBO and the bounds are in bits for each dimension: upper bounds on the length of
    a code. ``active_units`` and `measure_information` say what the latents hold.

    Args:
      inference: evidence and encoder.
      generative: prior and decoder.
      split: usually the test split.
      samples: the numbers K.
      examples: how many examples to take for the importance-weighted bounds; all by default.
      latent: the variable whose use is measured.
    """
    few = {name: array[:examples] for name, array in split.items()}
    information = measure_information(inference, generative, split, latent=latent)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        terms = elbo(key, inference, generative, params, state, split)
        most = max(samples)
        powers = [1 << exponent for exponent in range(most.bit_length())]
        model = (inference, generative, params, state, few)
        weighted = importance_weighted_bound(key, *model, samples=(*samples, *powers))
        curve = {count: weighted[count] for count in (*powers, most)}
        weighted = {count: weighted[count] for count in sorted(samples)}
        weighted[most] = Bounds(weighted[most].values, weights=weighted[most].weights, curve=curve)
        bounds = {"": terms["elbo"], **{f"/iwae/{count}": value for count, value in weighted.items()}}
        bits = _bits(bounds, split) if _gives_probabilities(key, generative, params, state, few) else {}
        codes = encode(key, inference, params, state, split, variable=latent)
        return {
            **{name: value for name, value in terms.items() if name != "loss"},
            **{f"iwae/{count}": value for count, value in weighted.items()},
            **bits,
            "active_units": float((active_units(codes.mean) > 0.01).sum()),
            **information(key, params, state),
            "examples_for_iwae": float(len(few["x"])),
        }

    return measure


def _bits(bounds: Mapping[str, Estimate], split: Split) -> dict[str, Estimate]:
    """Return lower bounds on the log-likelihood in nats as upper bounds in bits per dimension."""
    shape = split["x"].shape[1:]
    return {
        f"bits_per_dim{name}": Estimate(bits_per_dim(-bound.values, shape), weights=bound.weights).noted(
            f"upper bound, by {name[1:] or 'the ELBO'}", digits=3
        )
        for name, bound in bounds.items()
    }


def _gives_probabilities(key: Key, generative: Joint, params: Params, state: State, split: Split) -> bool:
    """Say whether x are 8-bit pixels, each of which has a probability under the decoder."""
    if split["x"].dtype != np.uint8 or split["x"].ndim != 4:
        return False
    given = {name: jnp.asarray(split[name][:1]) for name in generative.observed}
    drawn = jax.eval_shape(lambda: generative.sample(key, params, state, given, examples=1).values["x"])
    return bool(jnp.issubdtype(drawn.dtype, jnp.integer))


def _weights(split: Mapping[str, ArrayLike]) -> NDArray[Any] | None:
    return np.asarray(split[WEIGHTS]) if WEIGHTS in split else None
