"""Closed-form turns: what a player can offer instead of a gradient."""

from __future__ import annotations

__all__ = ["Expected", "Solver"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vifx.core.types import Array, Batch, Key, Params, PyTree, State


class Expected(NamedTuple):
    """What an E step learns from some examples: sums over them, which add up over chunks and devices.

    Attributes:
      statistics: the expected sufficient statistics of each family, by owner.
      log_prob: the objective that the E step has made tight, in nats: ``Σ log q(x)``, of a posterior at another
        temperature ``Σ T log Σ_z q(x, z)^(1/T)``.
      weight: the number of examples, or the sum of their weights.
      counts: how often each state of each latent is expected, ``[states]`` by latent.
    """

    statistics: Mapping[str, PyTree]
    log_prob: Array
    weight: Array
    counts: Mapping[str, Array]


@dataclass(frozen=True, eq=False, kw_only=True)
class Solver:
    """A player's closed-form turn, where it has one: an E step and an M step.

    Attributes:
      networks: the networks with a closed-form M step.
      others: the player's other networks, which it does not move.
      features: ``(state, batch) -> {"<variable>@features": …}``: what can be computed once for all updates; a
        batch that has these entries is used as it is.
      prepare: ``(params, state) -> prepared``, once an update.
      expect: ``(key, params, state, prepared, batch) -> Expected``; ``batch["@weights"]``, where there is one,
        weighs the examples, and ``batch["@responsibilities"]`` takes the place of the posterior in the statistics.
      maximize: ``(params, state, statistics, networks) -> params``.
      log_prior: ``(params, state) -> scalar``: the log-density in nats of the parameters under their own priors.
      degrees: ``params -> int``: how many free parameters the families have.
      magnitude: ``(prepared, statistics) -> scalar``: the absolute values in nats of what cancels in the sum of the
        log-densities, of all families.
      remarks: ``(params, batch) -> sentences``: what a user should know of fitted parameters, on the host.
    """

    networks: tuple[str, ...]
    others: tuple[str, ...]
    features: Callable[[State, Batch], dict[str, PyTree]]
    prepare: Callable[[Params, State], PyTree]
    expect: Callable[[Key, Params, State, PyTree, Batch], Expected]
    maximize: Callable[[Params, State, PyTree, tuple[str, ...]], Params]
    log_prior: Callable[[Params, State], Array]
    degrees: Callable[[Params], int]
    magnitude: Callable[[PyTree, Mapping[str, PyTree]], Array]
    remarks: Callable[[Params, Batch], tuple[str, ...]]
