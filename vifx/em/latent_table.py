"""A generative joint as a table over the states of its finite latents, for every example."""

from __future__ import annotations

__all__ = ["MOST_STATES", "LatentTable", "axis_states", "latent_table"]

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Independent

from vifx.core.conditional import density
from vifx.core.factor import Factor
from vifx.core.types import Array
from vifx.em.given import Given

MOST_STATES = 4096
"""The most joint states of the latents that are summed over."""


class LatentTable(NamedTuple):
    """``log q(x, z)`` for every example x and every state of the latents z.

    Attributes:
      latents: the latents that are summed over, in the order of the axes.
      states: the values of each, ``[states, *event]``.
      log_prob: ``[examples, *states of each latent]``, in nats.
      used: for each factor, the latents that it depends on.
    """

    latents: tuple[str, ...]
    states: Mapping[str, np.ndarray]
    log_prob: Array
    used: Mapping[str, tuple[str, ...]]

    def marginal(self, weights: Array, latents: tuple[str, ...]) -> Array:
        """Sum weights over all other latents: ``[examples, *states of all] -> [examples, *states of these]``."""
        kept = [self.latents.index(name) for name in latents]
        summed = tuple(axis + 1 for axis in range(len(self.latents)) if axis not in kept)
        rest = sorted(kept)
        moved = jnp.sum(weights, axis=summed)
        return jnp.transpose(moved, (0, *(1 + rest.index(axis) for axis in kept)))


def latent_table(given: Given) -> LatentTable:
    """Evaluate a generative joint at known values and every state of everything else.

    Each factor is evaluated at the combinations of its own finite parents alone; a factor whose parents are all
    latent runs its network once a combination, not once an example.

    Args:
      given: its variables are known, or latents of finite support.

    Raises:
      ValueError: a latent is not finite, or there are more than `MOST_STATES` states; the message names the factor.
    """
    known, examples = given.values, given.examples
    states: dict[str, np.ndarray] = {}
    tables: list[tuple[Array, tuple[str, ...]]] = []
    used: dict[str, tuple[str, ...]] = {}
    for item in given.joint.modelled:
        parents = tuple(name for name in item.given if name in states)
        own = item.variables[0]
        if own in known and item.turn is not None and len(parents) == len(item.given):
            log_prob = given.log_probs(item)
            sizes = tuple(len(states[name]) for name in parents)
            if log_prob.shape[1] != math.prod(sizes):
                raise ValueError(
                    f"{item} is a family of {log_prob.shape[1]} states, but its parents {', '.join(parents)} have "
                    f"{' × '.join(map(str, sizes))}; give the family states={sizes[0] if len(sizes) == 1 else sizes}."
                )
            log_prob = log_prob.reshape(examples, *sizes)
            axes = parents
        else:
            log_prob, support = _by_states(given, item, states, parents)
            axes = parents
            if support is not None:
                states[own] = support
                axes = (own, *parents)
                _check_size(item, states)
        used[item.name] = axes
        tables.append((log_prob, axes))
    latents = tuple(states)
    total = jnp.zeros((examples, *(len(states[name]) for name in latents)))
    for log_prob, axes in tables:
        order = sorted(range(len(axes)), key=lambda axis, axes=axes: latents.index(axes[axis]))
        moved = jnp.transpose(log_prob, (0, *(1 + axis for axis in order)))
        total = total + _spread(moved, {axes[axis] for axis in order}, latents, total.shape)
    return LatentTable(latents, states, total, used)


def _spread(log_prob: Array, axes: set[str], latents: tuple[str, ...], shape: tuple[int, ...]) -> Array:
    sizes = iter(log_prob.shape[1:])
    inner = tuple(next(sizes) if name in axes else 1 for name in latents)
    return jnp.broadcast_to(log_prob.reshape(log_prob.shape[0], *inner), shape)


def _by_states(
    given: Given, item: Factor, states: Mapping[str, np.ndarray], parents: tuple[str, ...]
) -> tuple[Array, np.ndarray | None]:
    """Return ``[examples or 1, own states if latent, *parents' states]`` and the own states."""
    own, known, examples = item.variables[0], given.values, given.examples
    sizes = [len(states[name]) for name in parents]
    combinations = math.prod(sizes)
    index = np.indices(sizes).reshape(len(sizes), combinations)
    each = {name: jnp.asarray(states[name][index[i]]) for i, name in enumerate(parents)}
    # Rows are combination by combination, and one a combination where no observed parent matters.
    copies = examples if any(name in known for name in item.given) else 1
    values = {name: jnp.repeat(value, copies, axis=0) for name, value in each.items()}
    for name in item.given:
        if name in known:
            values[name] = jnp.tile(known[name], (combinations,) + (1,) * (known[name].ndim - 1))
    rows = combinations * copies
    conditional = given.conditional(item, values, rows)
    if own in known:
        value = known[own]
        if copies == 1 and item.given:
            log_prob = density(item, conditional, jnp.repeat(value, combinations, axis=0), rows)
            return log_prob.reshape(examples, *sizes), None
        value = jnp.tile(value, (combinations,) + (1,) * (value.ndim - 1))
        log_prob = density(item, conditional, value, rows).reshape(combinations, examples)
        return jnp.moveaxis(log_prob, 0, -1).reshape(examples, *sizes), None
    support = axis_states(item, conditional)
    batch = (rows,) if item.given else ()
    at = jnp.broadcast_to(
        jnp.asarray(support).reshape(len(support), *(1,) * len(batch), *support.shape[1:]),
        (len(support), *batch, *support.shape[1:]),
    )
    log_prob = jax.vmap(conditional.log_prob)(at).reshape(len(support), combinations, copies)
    return jnp.moveaxis(log_prob, -1, 0).reshape(copies, len(support), *sizes), support


def axis_states(item: Factor, conditional: Any) -> np.ndarray:
    """Return the states of a finite latent, ``[states, *event]``: of a vector of finite variables, all combinations.

    They are concrete, also inside a transformation.

    Raises:
      ValueError: it is not finite, or has more than `MOST_STATES` states.
    """
    if not getattr(conditional, "has_enumerate_support", False):
        raise ValueError(
            f"{item} is not of finite support ({type(conditional).__name__}), so its exact posterior is not a table; "
            "condition on it, exact_posterior(generative, 'z | x, w'), or give it an encoder, factor('w | x', ...)."
        )
    event = tuple(conditional.event_shape)
    if isinstance(conditional, Independent) and event:
        with jax.ensure_compile_time_eval():  # a support is static, also inside a transformation
            single = np.asarray(conditional.base_dist.enumerate_support(expand=False)).reshape(-1)
        count = len(single) ** math.prod(event)
        if count > MOST_STATES:
            raise ValueError(
                f"{item} has {len(single)}^{math.prod(event)} = {count} states, more than the {MOST_STATES} that are "
                "summed over; use fewer latents, or an encoder."
            )
        index = np.array(list(itertools.product(range(len(single)), repeat=math.prod(event))))
        return single[index].reshape(count, *event)
    with jax.ensure_compile_time_eval():
        support = np.asarray(conditional.enumerate_support(expand=False))
    return support.reshape(len(support), *event)


def _check_size(item: Factor, states: Mapping[str, np.ndarray]) -> None:
    count = math.prod(len(support) for support in states.values())
    if count > MOST_STATES:
        raise ValueError(
            f"{item} makes the latents {', '.join(states)} have {count} joint states, more than the {MOST_STATES} that "
            "are summed over; use fewer latents, or an encoder."
        )
