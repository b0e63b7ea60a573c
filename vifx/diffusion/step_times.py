"""Which time each example draws: uniform, spread over the batch, or from a proposal."""

from __future__ import annotations

__all__ = ["Proposal", "StepTimes", "TimeDraws", "Times", "importance", "times_of"]

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import ArgumentError, require_choice, require_integer
from vifx.core.types import Array, Key, PyTree

StepTimes: TypeAlias = Literal["low_discrepancy", "uniform", "all"]
"""How the steps are summed: by one step for each example, drawn by itself or spread over the batch; or all of them."""


class Proposal(NamedTuple):
    """A density of times in [0, 1) that is constant in bins of equal width; `importance` makes one.

    Attributes:
      log_weights: the logs of the bins' probabilities, up to a constant; zeros of as many bins if it learns.
      learns: whether they are parameters.
    """

    log_weights: tuple[float, ...]
    learns: bool

    def init(self) -> PyTree:
        """Return the parameters, the same for all bins at first; none if it does not learn."""
        return {"log_weights": jnp.zeros(len(self.log_weights))} if self.learns else {}

    def log_probs(self, params: PyTree) -> Array:
        """Return the logs of the probabilities of the bins."""
        weights = params["log_weights"] if self.learns else jnp.asarray(self.log_weights, jnp.result_type(float))
        return jax.nn.log_softmax(weights)


Times: TypeAlias = StepTimes | Proposal


class TimeDraws(NamedTuple):
    """A time for each example.

    Attributes:
      place: in [0, 1), ``[rows]``.
      ratio: how many times as often a uniform draw would have it, ``[rows]``: the weight that keeps a mean unbiased.
      log_density: of the proposal at the place, differentiable in its parameters, ``[rows]``; None if there are none.
    """

    place: Array
    ratio: Array
    log_density: Array | None = None

    @classmethod
    def of(cls, key: Key, rows: int, times: Times, params: PyTree, steps: int | None) -> TimeDraws:
        """Draw them; where there are finitely many steps, the ratio is that of the step that holds the place."""
        if times == "uniform":
            return cls(jax.random.uniform(key, (rows,)), jnp.ones(rows))
        # (u + i/B) mod 1: each is uniform, and together they leave no gap.
        spread = (jax.random.uniform(key) + jnp.arange(rows) / rows) % 1.0
        if not isinstance(times, Proposal):
            return cls(spread, jnp.ones(rows))
        log_probs = times.log_probs(params)
        bins = len(times.log_weights)
        edges = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.exp(jax.lax.stop_gradient(log_probs)))])
        inside = jnp.clip(jnp.searchsorted(edges, spread, side="right") - 1, 0, bins - 1)
        along = (spread - edges[inside]) / jnp.exp(jax.lax.stop_gradient(log_probs))[inside]
        place = jnp.clip((inside.astype(along.dtype) + along) / bins, 0.0, jnp.nextafter(jnp.ones(()), 0.0))
        log_density = _log_density(log_probs, place, steps)
        ratio = jnp.exp(-jax.lax.stop_gradient(log_density))
        return cls(place, ratio, log_density if times.learns else None)

    def searched(self, weighted: Array) -> Array | None:
        """Return what a learned proposal minimizes, ``[rows]``, of value zero; None if it does not learn.

        Its gradient is that of ``E w²`` by the proposal, w the weighted draw.
        """
        if self.log_density is None:
            return None
        mean = jnp.maximum(jnp.mean(weighted**2), jnp.finfo(weighted.dtype).tiny)  # every draw may be zero
        square = jax.lax.stop_gradient(weighted**2 / mean)
        return -square * (self.log_density - jax.lax.stop_gradient(self.log_density))


def _log_density(log_probs: Array, place: Array, steps: int | None) -> Array:
    """Return the log of how many times as often as uniform a place is drawn, or the step that holds it."""
    bins = log_probs.shape[0]
    if steps is None:
        return log_probs[jnp.minimum((place * bins).astype(jnp.int32), bins - 1)] + np.log(bins)
    # How much of each bin lies in each step.
    low, high = np.arange(steps)[:, None] / steps, (np.arange(steps)[:, None] + 1) / steps
    first, last = np.arange(bins)[None] / bins, (np.arange(bins)[None] + 1) / bins
    share = np.clip(np.minimum(high, last) - np.maximum(low, first), 0, None) * bins * steps
    each = jnp.log(jnp.asarray(share, log_probs.dtype) @ jnp.exp(log_probs))
    return each[jnp.minimum((place * steps).astype(jnp.int32), steps - 1)]


def importance(weights: Sequence[float] | None = None, *, learned: bool = False, bins: int | None = None) -> Proposal:
    """Draw times in proportion to weights of equal intervals of [0, 1], each divided by its probability again.

    The estimate stays unbiased. It varies least where the weights are proportional to the root mean square of the step
    terms; ``learned=True`` finds them while the model learns, by the gradient of the estimate's second moment, and its
    factor then owns parameters: ``factor("z | x", forward(schedule, times=importance(learned=True)), name="times")``.

    Args:
      weights: a positive number for each interval; None where they are learned.
      learned: whether they are parameters, equal at first.
      bins: how many intervals are learned; 32 by default.

    Raises:
      ValueError: a weight that is not positive and finite, or both or neither of `weights` and `learned`.

    Reference: Nichol & Dhariwal (2021), arXiv:2102.09672, section 3.3.
    """
    if (weights is None) is not learned:
        raise ValueError("importance: give either weights, a positive number for each interval, or learned=True")
    if weights is None:
        return Proposal((0.0,) * require_integer(32 if bins is None else bins, "importance: bins"), True)
    if bins is not None:
        raise ArgumentError("importance: bins", "is for learned=True; weights say how many there are", value=bins)
    each = np.asarray(weights, np.float64)
    if each.ndim != 1 or not len(each) or not np.all(np.isfinite(each) & (each > 0)):
        raise ArgumentError("importance: weights", f"must be positive and finite, got {weights}", value=weights)
    return Proposal(tuple(map(float, np.log(each))), False)


def times_of(times: Times, name: str) -> Times:
    """Check which times are drawn.

    Raises:
      ValueError: if it is neither one of the words nor a `Proposal`.
    """
    return times if isinstance(times, Proposal) else require_choice(times, get_args(StepTimes), name)
