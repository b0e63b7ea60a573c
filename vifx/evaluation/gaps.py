"""Where a bound loses: to the encoder's family, to one encoder for all examples, and to few draws."""

from __future__ import annotations

__all__ = ["Gaps", "gaps"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

from vifx import training
from vifx.checks import require, require_integer, require_number
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Array, Aux, Batch, Key, Params, State
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.certificate import Certificate
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.likelihood_bounds import importance_weighted_bound
from vifx.training import Progress
from vifx.variational import kl

_DRAWS, _AVERAGED = 10, 1000  # of a step of the optimization, and of each ELBO that is reported


@dataclass(frozen=True, eq=False)
class Gaps:
    """Differences of bounds on log q(x), per example in nats; each is at least zero but for noise.

    ``inference = approximation + amortization``.

    Attributes:
      approximation: log q(x) minus the ELBO of the best member of the encoder's family.
      amortization: the ELBO of that member minus the encoder's own.
      inference: log q(x) minus the encoder's own ELBO, which is KL(p(z|x) ‖ q(z|x)).
      monte_carlo: log q(x) minus the importance-weighted bound of K draws.
      samples: K.
    """

    approximation: Estimate
    amortization: Estimate
    inference: Estimate
    monte_carlo: Estimate
    samples: int


class _Search(NamedTuple):
    inference: Joint
    generative: Joint
    steps: int


def gaps(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    certificate: Certificate,
    samples: int = 1000,
    steps: int = 500,
    learning_rate: float = 1e-3,
    batch_size: int = 10,
) -> Gaps:
    """Decompose ``log q(x) − ELBO`` of each example into what each part of the inference costs.

    The best member of the encoder's family is found by training the encoder's networks for each example alone, from
    where they are, on its ELBO by Adam; so it is as good as that optimization, and what it misses counts as
    approximation. log q(x) is the lower estimate of `certificate`; where it is not exact, what that misses is missing
    from the approximation and the Monte Carlo gaps too, which are then bounds from below on average.

    Args:
      key: gives one key per example and draw.
      inference: latents with densities, and evidence; its networks are not those of the generative joint.
      generative: prior and decoder.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: the examples that were certified.
      certificate: of the same examples, by `certify`.
      samples: K of the Monte Carlo gap.
      steps: of the optimization, whose rate falls to zero along a cosine.
      learning_rate: its rate at first; encoders of few parameters take more.
      batch_size: examples at a time, each with encoder networks of its own in memory.

    Raises:
      TypeError: `certificate` is none.
      ValueError: it is of another number of examples, a network belongs to both joints or there is none to train, or an
        argument is out of range.

    Reference: Cremer, Li and Duvenaud (2018), Inference suboptimality in variational autoencoders, arXiv:1801.03558.
    """
    require(certificate, Certificate, "gaps: certificate", "a Certificate", "make it with evaluation.certify")
    require_integer(samples, "gaps: samples")
    require_integer(steps, "gaps: steps")
    require_number(learning_rate, "gaps: learning_rate", above=0)
    count = len(np.asarray(next(iter(split.values()))))
    log_prob = np.asarray(certificate.below.values, np.float64)
    if len(log_prob) != count:
        raise ValueError(f"certificate is of {len(log_prob)} examples, but split has {count}; certify the same ones.")
    shared = [owner for owner in inference.owners if owner in generative.owners]
    if shared or not inference.owners:
        what = f"{shared[0]!r} belongs to both joints" if shared else f"{inference} has no network"
        raise ValueError(f"gaps: the encoder is trained for each example alone, but {what}.")
    keys = [jax.random.fold_in(key, number) for number in range(2)]
    model = (inference, generative, params, state, split)
    search = _Search(inference, generative, steps)
    found = in_batches(keys[0], partial(_searched, search, learning_rate), params, state, split, batch_size=batch_size)
    own, best = (np.asarray(each, np.float64) for each in found)
    weighted = importance_weighted_bound(keys[1], *model, samples=(samples,))[samples]

    def gap(upper: np.ndarray, lower: np.ndarray) -> Estimate:
        return Estimate(upper - lower, weights=weighted.weights)

    return Gaps(
        approximation=gap(log_prob, best),
        amortization=gap(best, own),
        inference=gap(log_prob, own),
        monte_carlo=gap(log_prob, np.asarray(weighted.values, np.float64)),
        samples=samples,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _searched(search: _Search, learning_rate: float, rows: Rows) -> tuple[Array, Array]:
    """Return the ELBO of the encoder, and of the best member of its family, ``[examples]`` each."""
    joints, owns = (search.inference, search.generative), search.inference.owners
    tried, told = (kl(*joints, samples=number).players["model"].loss for number in (_DRAWS, _AVERAGED))

    def still(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        del train  # batch statistics and dropout are of a model in training
        return tried(key, params, state, batch, train=False)

    def rate(made: ArrayLike) -> Array:
        return learning_rate * 0.5 * (1 + jnp.cos(math.pi * jnp.asarray(made, jnp.float32) / search.steps))

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        del key, batch
        return rows.params, rows.state

    objective = Objective.of_loss(init, still, owns=owns)
    step = training.descend(objective, "model", optax.adam(rate))

    def one(key: Key, example: Batch) -> tuple[Array, Array]:
        def moved(progress: Progress, number: Array) -> tuple[Progress, None]:
            return step.update(jax.random.fold_in(key, number), progress, example)[0], None

        start = Progress(rows.params, rows.state, step.init(jax.random.fold_in(key, 0), rows.params, rows.state))
        found, _ = jax.lax.scan(moved, start, jnp.arange(2, search.steps + 2, dtype=jnp.uint32))
        last = jax.random.fold_in(key, 1)  # the same noise for both, so that their difference has less of it
        ends = (rows.params, {**rows.params, **{owner: found.params[owner] for owner in owns}})
        own, best = (-told(last, params, rows.state, example, train=False)[0][None] for params in ends)
        return own, best

    return rows.each(one)
