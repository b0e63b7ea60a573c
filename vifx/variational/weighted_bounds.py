"""Objectives of bounds by weighted draws: what `importance_weighted` and `renyi` have in common."""

from __future__ import annotations

__all__ = ["Mover", "check_weighting", "weighted_objective"]

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, get_args

import jax

from vifx.checks import ArgumentError, require_choice, require_integer
from vifx.core.objective import Objective, Part, Player, Term
from vifx.core.types import Array, Aux, Batch, Key, Loss, Networks, Params, State
from vifx.variational.bounds import Gradient, Weighting, bound, walk_latents
from vifx.variational.pair import Pair, pair_init
from vifx.variational.walk import Visit, treatments
from vifx.verification import enumeration


class Mover(NamedTuple):
    """One player of a bound: what it moves, by which bound, and what that is called among the metrics."""

    owns: tuple[str, ...]
    how: Weighting
    metric: str


def check_weighting(how: Weighting, caller: str) -> None:
    """Check the numbers and the gradient estimator of a bound.

    Raises:
      ValueError: one is out of range, or unknown.
      TypeError: a number of draws is not an integer.
    """
    require_integer(how.samples, f"{caller}: samples")
    require_integer(how.outer, f"{caller}: outer")
    require_choice(how.gradient, get_args(Gradient), f"{caller}: gradient")
    if how.gradient == "vimco" and how.samples < 2:
        sentence = "must be at least 2 with gradient='vimco', which compares each draw with the others, got 1"
        raise ArgumentError(f"{caller}: samples", sentence, value=how.samples)


def weighted_objective(
    both: Pair,
    movers: Mapping[str, Mover],
    *,
    title: str,
    formula: str,
    derivation: tuple[str, ...],
    prefix: str,
) -> Objective:
    """Return the objective whose players each minimize minus a bound."""

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        found = []
        for mover in movers.values():
            unknown = "a batch decides whether latents are summed or drawn"
            plan = unknown if batch is None else _plan(both, batch, mover.how)
            found.append(Term(mover.metric, formula, f"{plan}; gradient: {mover.how.gradient}", "1"))
        return tuple(found)

    def claim(params: Params, state: State, batch: Batch, how: Weighting) -> Array:
        joints = (both.inference, both.generative)
        value = enumeration.importance_weighted_terms(*joints, params, state, batch, how.samples, alpha=how.alpha)
        return value + enumeration.constant_value(both.constants, both.inference, batch)

    part = Part(
        title=title,
        joints=(both.inference, both.generative),
        constants=both.constants,
        left_out=both.left_out,
        derivation=derivation,
        terms=terms,
        exact={name: partial(claim, how=mover.how) for name, mover in movers.items()},
    )
    players = {name: Player(mover.owns, _loss(both, mover, prefix)) for name, mover in movers.items()}
    return Objective(partial(pair_init, both=both), players, (part,))


def _loss(both: Pair, mover: Mover, prefix: str) -> Loss:
    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        networks = Networks(params, state, train)
        value, metrics, networks = bound(key, both, networks, batch, mover.how, name=mover.metric)
        return -value, Aux({prefix + metric: number for metric, number in metrics.items()}, networks.state)

    return loss


def _plan(both: Pair, batch: Batch, how: Weighting) -> str:
    def visits(key: Key, batch: Batch) -> list[Visit]:
        networks = Networks(*pair_init(key, batch, both=both))
        return walk_latents(jax.random.clone(key), both, networks, batch, how)[0]

    told = treatments(visits, batch, how.samples * how.outer)
    if any(words.startswith("summed") for words in told.values()):
        return "all K-tuples of states, exactly"
    return "; ".join(f"{variable}: {words}" for variable, words in told.items()) or "no latent: exact"
