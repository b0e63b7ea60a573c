"""Closed-form turns: the expected statistics of exact posteriors, and the parameters that are best for them."""

from __future__ import annotations

__all__ = ["solver"]

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from vifx.core.examples import stand_ins
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.turn import Expected, Solver
from vifx.core.types import Array, Batch, Key, Networks, Params, PyTree, State
from vifx.em.given import Given
from vifx.em.latent_chain import latent_chain
from vifx.em.latent_table import LatentTable, latent_table
from vifx.em.posterior import Posterior, posterior_params, posterior_temperature, tempered_logits
from vifx.variational.pair import Pair, pair


def solver(inference: Joint, generative: Joint) -> Solver | None:
    """Return the closed-form turn of a pair of joints with at least one family, or None if it has none.

    It has one if the inference joint is evidence and exact posteriors alone, which together are the posterior of
    all latents.
    """
    both = pair("solve", inference, generative)
    families = [item for item in generative.factors if item.turn is solver]
    if not both.wholly_derived or len({item.owner for item in families}) < len(families):
        return None  # factors that share parameters have statistics of several variables
    sources = [item.source for item in inference.modelled]
    if any((each.temperature, each.anchored) != (sources[0].temperature, sources[0].anchored) for each in sources):
        return None
    turn = _Turn(both, tuple(families), sources[0] if sources else Posterior(generative, 1.0, False))
    others = tuple(name for name in generative.owners if name not in turn.owners)
    return Solver(
        networks=turn.owners,
        others=others,
        features=turn.features,
        prepare=turn.prepare,
        expect=turn.expect,
        maximize=turn.maximize,
        log_prior=turn.log_prior,
        degrees=turn.degrees,
        magnitude=turn.magnitude,
        remarks=turn.remarks,
    )


class _Turn:
    """The E and the M step of a joint, families by owner."""

    def __init__(self, both: Pair, factors: tuple[Factor, ...], source: Posterior) -> None:
        self.both, self.factors, self.source = both, factors, source
        self.families = {str(item.owner): item.source for item in factors}
        self.owners = tuple(self.families)

    def features(self, state: State, batch: Batch) -> dict[str, PyTree]:
        observed = self.both.inference.observe(batch, {})
        found = {}
        for item in self.factors:
            own = item.variables[0]
            if own in observed and f"{own}@features" not in batch:
                found[f"{own}@features"] = item.source.features(state.get(str(item.owner), {}), observed[own])
        return found

    def prepare(self, params: Params, state: State) -> dict[str, PyTree]:
        own = posterior_params(self.source, params)
        return {name: family.prepare(own[name], state.get(name, {})) for name, family in self.families.items()}

    def expect(self, key: Key, params: Params, state: State, prepared: PyTree, batch: Batch) -> Expected:
        observed = self.both.inference.observe(batch, {})
        batch = stand_ins(batch, batch)
        values = {name: value for name, value in observed.items() if name in self.both.generative.variables}
        ready = {**{name: v for name, v in batch.items() if name.endswith("@features")}, **self.features(state, batch)}
        of_owner = {str(i.owner): ready[k] for i in self.factors if (k := f"{i.variables[0]}@features") in ready}
        given = Given(
            key=key,
            joint=self.both.generative,
            networks=Networks(posterior_params(self.source, params), state),
            values=values,
            examples=next(iter(values.values())).shape[0],
            prepared=prepared,
            features=of_owner,
        )
        temperature = posterior_temperature(self.source, state)
        chain = latent_chain(given)
        if chain is not None:
            return chain.expected(self.factors, temperature, batch)
        for item in self.factors:
            if observed := [name for name in item.given if name in values]:
                raise ValueError(
                    f"{item} has no closed-form turn: its parent {observed[0]!r} is observed, and a family solves for "
                    "latent parents; move it with descend."
                )
        table = latent_table(given)
        objective, responsibilities = _responsibilities(table, temperature)
        if "@responsibilities" in batch:
            responsibilities = batch["@responsibilities"].astype(objective.dtype).reshape(responsibilities.shape)
        total, number = jnp.sum(objective), jnp.asarray(given.examples, objective.dtype)
        if "@weights" in batch:
            weights = batch["@weights"].astype(objective.dtype)
            spread = weights.reshape(-1, *(1,) * len(table.latents))
            responsibilities = responsibilities * jnp.broadcast_to(spread, responsibilities.shape)
            # An impossible example of weight zero counts for nothing.
            total, number = jnp.sum(jnp.where(weights > 0, weights * objective, 0)), jnp.sum(weights)
        statistics = {str(item.owner): _statistics(given, item, table, responsibilities) for item in self.factors}
        counts = {name: jnp.sum(table.marginal(responsibilities, (name,)), axis=0) for name in table.latents}
        return Expected(statistics, total, number, counts)

    def maximize(self, params: Params, state: State, statistics: PyTree, networks: tuple[str, ...]) -> Params:
        moved = {
            name: self.families[name].maximize(params[name], state.get(name, {}), statistics[name]) for name in networks
        }
        return {**params, **moved}

    def log_prior(self, params: Params, state: State) -> Array:
        each = [family.log_prior(params[name], state.get(name, {})) for name, family in self.families.items()]
        return jnp.sum(jnp.stack(each))

    def degrees(self, params: Params) -> int:
        return sum(family.degrees(params[name]) for name, family in self.families.items())

    def magnitude(self, prepared: PyTree, statistics: Mapping[str, PyTree]) -> Array:
        each = [family.magnitude(prepared[name], statistics[name]) for name, family in self.families.items()]
        return jnp.sum(jnp.stack([jnp.asarray(value, jnp.result_type(float)) for value in each]))

    def remarks(self, params: Params, batch: Batch) -> tuple[str, ...]:
        observed = self.both.inference.observe(batch, {})
        owned = {str(item.owner): item.variables[0] for item in self.factors}
        each = [self.families[o].remarks(params[o], observed[own]) for o, own in owned.items() if own in observed]
        return tuple(sentence for sentences in each for sentence in sentences)


def _responsibilities(table: LatentTable, temperature: float | Array) -> tuple[Array, Array]:
    """Return the objective of each example in nats, ``T log Σ_z q(x,z)^(1/T)``, and the posterior of the states."""
    log_prob = table.log_prob
    axes = tuple(range(1, log_prob.ndim))
    if not axes:
        return log_prob, jnp.ones_like(log_prob)
    if isinstance(temperature, float) and temperature == 1:
        best = jnp.max(log_prob, axis=axes, keepdims=True)
        # One exponential a state; an example that is impossible in every state has responsibilities 0.
        each = jnp.exp(log_prob - jnp.where(best > -jnp.inf, best, 0))
        total = jnp.sum(each, axis=axes, keepdims=True)
        return (best + jnp.log(total)).reshape(-1), each / jnp.where(total > 0, total, 1)
    logits = tempered_logits(log_prob, temperature)
    best = jnp.max(log_prob, axis=axes)
    total = logsumexp(logits, axis=axes, keepdims=True)
    possible = jnp.max(log_prob, axis=axes, keepdims=True) > -jnp.inf
    responsibilities = jnp.where(possible, jnp.exp(logits - jnp.where(possible, total, 0)), 0)
    if not isinstance(temperature, jax.Array):
        return (best if temperature == 0 else temperature * total.reshape(-1)), responsibilities
    warm = temperature.astype(log_prob.dtype) * total.reshape(-1)
    return jnp.where(temperature > 0, warm, best), responsibilities


def _statistics(given: Given, item: Factor, table: LatentTable, responsibilities: Array) -> PyTree:
    """Return a family's expected sufficient statistics, summed over the examples."""
    owner, own, family = str(item.owner), item.variables[0], item.source
    prepared, marginal = given.prepared[owner], table.marginal(responsibilities, table.used[item.name])
    if own not in table.states:
        return family.statistics(prepared, given.features[owner], marginal.reshape(marginal.shape[0], -1))
    # The states of a latent are like examples, as often as they are expected.
    states = jnp.asarray(table.states[own])
    counts = jnp.sum(marginal, axis=0).reshape(len(states), -1)
    return family.statistics(prepared, family.features(given.networks.state.get(owner, {}), states), counts)
