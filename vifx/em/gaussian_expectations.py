"""Gaussian chains as latents: what is expected of the steps of a sequence, by the Kalman smoother.

A latent whose prior is a `GaussianChain`, with emissions that are affine in one step of it each, has a Gaussian chain
as posterior, and every expectation that EM needs is one of its means and covariances.
"""

from __future__ import annotations

__all__ = ["GaussianTable", "gaussian_expected", "gaussian_posterior", "gaussian_table"]

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.conditional import density
from vifx.core.factor import Factor
from vifx.core.turn import Expected
from vifx.core.types import Array, Batch
from vifx.distributions import GaussianChain
from vifx.distributions.kalman import smoothed
from vifx.distributions.lengths import inside
from vifx.distributions.linear_evidence import LinearEvidence, probed
from vifx.em.chain_expectations import require_known, sequence_weights
from vifx.em.families.regression import ChainMoments
from vifx.em.given import Given


class GaussianTable(NamedTuple):
    """A generative joint of one Gaussian chain and of known variables.

    Attributes:
      item: the factor of the chain.
      prior: the chain before the data, one for each example or one for all.
      evidence: what is known of each step.
      rest: the log-density in nats of what does not depend on the chain, ``[examples]``.
      inside: which steps a sequence has, ``[examples, T]``.
    """

    item: Factor
    prior: GaussianChain
    evidence: LinearEvidence
    rest: Array
    inside: Array


def gaussian_table(given: Given, item: Factor, prior: GaussianChain) -> GaussianTable:
    """Evaluate every factor of a joint of one Gaussian chain, as a function of the steps of the chain.

    Raises:
      ValueError: there is a further latent, or a factor is not affine in each step of the chain.
    """
    latent, examples = item.variables[0], given.examples
    dtype = prior.initial_loc.dtype
    rest = jnp.zeros((examples,), dtype)
    each: list[LinearEvidence] = []
    for other in given.joint.modelled:
        if other is item:
            continue
        require_known(other, item, given.values)
        if latent not in other.given:
            conditional = given.conditional(other, given.values, examples)
            rest = rest + density(other, conditional, given.values[other.variables[0]], examples)
        elif other.turn is not None:
            found = given.log_probs(other, *_parents(given, other, latent))
            if not isinstance(found, LinearEvidence):
                raise ValueError(
                    f"{other}: {latent!r} is a Gaussian chain, and the family of its emissions must be linear in it; "
                    "use em.linear_gaussian()."
                )
            each.append(found)
        else:
            each.append(_probed(given, other, latent, prior))
    lengths = [given.values[name] for name in item.given if given.values[name].ndim == 1]
    within = jnp.ones((examples, prior.length), bool)
    if lengths:
        within = inside(str(item), lengths[0], examples, prior.length)
    return GaussianTable(item, prior, _joined(each, examples, prior), rest, within)


def gaussian_posterior(table: GaussianTable, temperature: float | Array) -> GaussianChain:
    """Return the posterior chain of a table, which no gradient flows through.

    Raises:
      ValueError: the temperature is not 1.
    """
    _require_exact(table, temperature)
    prior, evidence = jax.lax.stop_gradient((table.prior, table.evidence))
    return smoothed(prior, evidence)[1]


def gaussian_expected(
    given: Given, table: GaussianTable, factors: Sequence[Factor], temperature: float | Array, batch: Batch
) -> Expected:
    """Return what the E step learns from some sequences: the statistics of every family.

    Args:
      given: what the table was made of, with all that families prepare.
      table: of the joint.
      factors: those of the generative joint that are families.
      temperature: 1.
      batch: its ``"@weights"``, ``[examples]``, weigh the sequences.

    Raises:
      ValueError: the temperature is not 1, or the batch has responsibilities.
    """
    _require_exact(table, temperature)
    latent = table.item.variables[0]
    if "@responsibilities" in batch:
        raise ValueError(
            f"{table.item}: {latent!r} is continuous, so that there are no @responsibilities; leave them out."
        )
    log_prob, chain = smoothed(table.prior, table.evidence)
    means, covariances, cross_covariances = chain.moments()
    objective = log_prob + table.rest
    weights, share = sequence_weights(objective, batch)
    own = jnp.where(table.inside, share[:, None], 0)
    moments = ChainMoments(means, covariances, cross_covariances, own)
    statistics = {}
    for item in factors:
        owner, family = str(item.owner), item.source
        prepared, parents = given.prepared[owner], _parents(given, item, latent)
        if item is table.item:
            statistics[owner] = family.statistics(prepared, None, moments, *parents)
        elif latent in item.given:
            statistics[owner] = family.statistics(prepared, given.features[owner], moments, *parents)
        else:
            statistics[owner] = family.statistics(prepared, given.features[owner], share[:, None])
    total = jnp.sum(jnp.where(weights > 0, weights * objective, 0))
    return Expected(statistics, total, jnp.sum(weights), {latent: jnp.sum(own)[None]})


def _parents(given: Given, item: Factor, latent: str) -> tuple[Array, ...]:
    return tuple(given.values[name] for name in item.given if name != latent)


def _probed(given: Given, item: Factor, latent: str, prior: GaussianChain) -> LinearEvidence:
    """Find out an emission that is affine in the steps of a chain from its values at the chain's probes."""
    conditional = given.at_probes(item, latent, prior.probes())
    try:
        return probed(conditional, given.values[item.variables[0]])
    except ValueError as error:
        raise ValueError(f"{item}, an emission of the Gaussian chain {latent!r}: {error}.") from error


def _joined(each: Sequence[LinearEvidence], examples: int, prior: GaussianChain) -> LinearEvidence:
    """Return several emissions of a chain as one."""
    size, dtype = prior.event_shape[-1], prior.initial_loc.dtype
    if not each:
        nothing = jnp.zeros((examples, prior.length, 0), dtype)
        return LinearEvidence(jnp.zeros((0, size), dtype), nothing, jnp.zeros((examples, prior.length), dtype))
    if len(each) == 1:
        return each[0]
    lead = jnp.broadcast_shapes(*(evidence.matrix.shape[:-2] for evidence in each))
    matrices = [jnp.broadcast_to(one.matrix, (*lead, *one.matrix.shape[-2:])) for one in each]
    constants = sum((one.constants for one in each[1:]), each[0].constants)
    values = jnp.concatenate([one.values for one in each], axis=-1)
    return LinearEvidence(jnp.concatenate(matrices, axis=-2), values, constants)


def _require_exact(table: GaussianTable, temperature: float | Array) -> None:
    if not isinstance(temperature, float) or temperature != 1:
        raise ValueError(f"{table.item}: the exact posterior of a Gaussian chain has temperature 1; leave it out.")
