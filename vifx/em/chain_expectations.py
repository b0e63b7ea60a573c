"""Chains as latents: what is expected of the steps of a sequence under the posterior of its chain.

A latent whose prior is a `MarkovChain` is not enumerated: with emissions that depend on one step of it each, its
posterior is a chain again, and every expectation that EM needs is one of its marginals or pair marginals.
"""

from __future__ import annotations

__all__ = [
    "chain_expected",
    "chain_posterior",
    "chain_table",
    "require_known",
    "sequence_weights",
]

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.conditional import density
from vifx.core.factor import Factor
from vifx.core.turn import Expected
from vifx.core.types import Array, Batch
from vifx.distributions import EachStep, MarkovChain
from vifx.distributions.lengths import inside, possible
from vifx.em.forward_backward import ChainTable, smoothed
from vifx.em.given import Given


def chain_table(given: Given, item: Factor, prior: MarkovChain) -> ChainTable:
    """Evaluate every factor of a joint of one chain, in every state of every step.

    Raises:
      ValueError: there is a further latent, or a factor does not apply to each step.
    """
    dtype = prior.initial_logits.dtype
    steps = jnp.zeros((given.examples, prior.length, prior.states), dtype)
    rest = jnp.zeros((given.examples,), dtype)
    for other in given.joint.modelled:
        if other is item:
            continue
        require_known(other, item, given.values)
        if item.variables[0] in other.given:
            steps = steps + _step_log_probs(given, other, item.variables[0], prior)
        else:
            conditional = given.conditional(other, given.values, given.examples)
            rest = rest + density(other, conditional, given.values[other.variables[0]], given.examples)
    inside = _inside(item, _lengths(item, given.values), given.examples, prior.length)
    return ChainTable(item, prior, steps, rest, inside)


def sequence_weights(objective: Array, batch: Batch) -> tuple[Array, Array]:
    """Return the weights of sequences, and those in the statistics, where an impossible one counts for nothing."""
    weights = batch["@weights"] if "@weights" in batch else jnp.ones(objective.shape, objective.dtype)
    weights = weights.astype(objective.dtype)
    return weights, jnp.where(objective > -jnp.inf, weights, 0)


def require_known(other: Factor, item: Factor, known: Mapping[str, Array]) -> None:
    """Refuse a latent beside a chain.

    Raises:
      ValueError: `other` is one.
    """
    if other.variables[0] not in known:
        raise ValueError(
            f"{other} is a latent beside the chain {item}, and an exact posterior sums over one chain alone; condition "
            f"on {other.variables[0]!r}, or make it part of the chain's state."
        )


def _step_log_probs(given: Given, item: Factor, latent: str, prior: MarkovChain) -> Array:
    """Evaluate an emission of a chain in every state of every step, ``[examples, T, K]`` in nats, 0 beyond the end."""
    value, rows, length, states = given.values[item.variables[0]], given.examples, prior.length, prior.states
    if item.turn is None:
        conditional = given.at_probes(item, latent, prior.probes())
        if not isinstance(conditional, EachStep):
            raise ValueError(
                f"{item}: {latent!r} is a chain, and its emissions must depend on one step of it each, which "
                f"{type(conditional).__name__} does not promise; make it with em.each_step(...)."
            )
        log_probs = conditional.step_log_probs(_tiled(value, states)).reshape(states, rows, length)
        return jnp.moveaxis(log_probs, 0, -1)
    log_probs = given.log_probs(item)
    if log_probs.shape != (rows, length, states):
        raise ValueError(
            f"{item}: its log-densities have shape {list(log_probs.shape)}, but {latent!r} is a chain of {length} "
            f"steps and {states} states, so [{rows}, {length}, {states}] was expected; wrap the family of one step "
            f"in em.each_step, with states={states}, and give sequences of length {length}."
        )
    lengths = _lengths(item, given.values, latent)
    if lengths is None:
        return log_probs
    log_probs = jnp.where(_inside(item, lengths, rows, length)[:, :, None], log_probs, 0)
    wrong = possible(lengths, length).astype(log_probs.dtype)[:, None, None]
    return log_probs + jnp.broadcast_to(wrong, log_probs.shape)


def chain_posterior(table: ChainTable, temperature: float | Array) -> MarkovChain:
    """Return the posterior chain of a table, which no gradient flows through."""
    prior, steps = jax.lax.stop_gradient((table.prior, table.steps))
    return smoothed(table._replace(prior=prior, steps=steps), temperature=temperature)[1]


def chain_expected(
    given: Given, table: ChainTable, factors: Sequence[Factor], temperature: float | Array, batch: Batch
) -> Expected:
    """Return what the E step learns from some sequences: the statistics of every family.

    Args:
      given: what the table was made of, with all that families prepare.
      factors: those of the generative joint that are families.
      batch: its ``"@weights"``, ``[examples]``, weigh the sequences, and its ``"@responsibilities"``, ``[examples, T,
        K]``, take the place of the marginals in the statistics of emissions.

    Raises:
      ValueError: those responsibilities are not of every step.
    """
    objective, chain = smoothed(table, temperature=temperature)
    weights, share = sequence_weights(objective, batch)
    responsibilities = batch.get("@responsibilities")
    latent = table.item.variables[0]
    marginals = chain.marginals
    if responsibilities is not None:
        if responsibilities.size != marginals.size:
            raise ValueError(
                f"@responsibilities has shape {list(responsibilities.shape)}, but {latent!r} is a chain: give "
                f"those of every step, [examples, length, states] = {list(marginals.shape)}."
            )
        marginals = responsibilities.astype(marginals.dtype).reshape(marginals.shape)
    own = jnp.where(table.inside[:, :, None], marginals * share[:, None, None], 0)
    statistics = {}
    for item in factors:
        owner, family = str(item.owner), item.source
        if item is table.item:
            first, pairs = _pair_counts(chain, table.inside)
            statistics[owner] = family.statistics(given.prepared[owner], (first, pairs), share[:, None])
        else:
            used = own if latent in item.given else share[:, None]
            statistics[owner] = family.statistics(given.prepared[owner], given.features[owner], used)
    total = jnp.sum(jnp.where(weights > 0, weights * objective, 0))
    return Expected(statistics, total, jnp.sum(weights), {latent: jnp.sum(own, axis=(0, 1))})


def _pair_counts(chain: MarkovChain, inside: Array) -> tuple[Array, Array]:
    """Return ``P(z_1)``, ``[examples, K]``, and how often a pair of states is expected, ``[examples, K, K]``."""
    marginals = chain.marginals
    left = jnp.where(inside[:, 1:, None], marginals[:, :-1], 0)
    return marginals[:, 0], jnp.einsum("nti,ntij->nij", left, jnp.exp(chain.transition_log_probs))


def _lengths(item: Factor, known: Mapping[str, Array], latent: str = "") -> Array | None:
    """Return the lengths of the sequences, the one parent of a family that is not the chain."""
    parents = [known[name] for name in item.given if name != latent]
    if not parents or item.turn is None:
        return None
    if len(parents) > 1 or parents[0].ndim != 1:
        raise ValueError(
            f"{item}: beside the chain, the one parent of a family may be the lengths of the sequences, integers "
            f"[examples]; got shapes {[list(parent.shape) for parent in parents]}."
        )
    return parents[0]


def _inside(item: Factor, lengths: Array | None, examples: int, length: int) -> Array:
    return jnp.ones((examples, length), bool) if lengths is None else inside(str(item), lengths, examples, length)


def _tiled(value: Any, times: int) -> Array:
    return jnp.tile(value, (times,) + (1,) * (value.ndim - 1))
