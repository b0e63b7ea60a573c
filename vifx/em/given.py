"""What an E step is given: a joint, its networks, and the values of some of its variables."""

from __future__ import annotations

__all__ = ["Given"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from vifx.core.conditional import condition, fold
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Networks, PyTree


@dataclass(frozen=True, eq=False, kw_only=True)
class Given:
    """A generative joint with the values of its observed variables.

    Attributes:
      key: noise of networks in training mode, folded per factor name; None for none.
      joint: its other variables are latents.
      networks: of the joint.
      values: what is known, ``[examples, *event]`` by variable.
      examples: how many.
      prepared: what families prepare of their parameters, by owner; it is made where it is absent.
      features: what families make of known values, by owner; likewise.
    """

    key: Key | None
    joint: Joint
    networks: Networks
    values: Mapping[str, Array]
    examples: int
    prepared: Mapping[str, PyTree] = field(default_factory=dict)
    features: Mapping[str, PyTree] = field(default_factory=dict)

    def conditional(self, item: Factor, values: Mapping[str, Array], examples: int) -> Any:
        """Return a factor's conditional at values of its parents, ``[examples, *event]``."""
        noise = None if self.key is None else fold(self.key, item.name, "network")
        return condition(noise, item, self.networks, values, examples)[0]

    def at_probes(self, item: Factor, latent: str, probes: Array) -> Any:
        """Return a factor's conditional at the probes of a latent, ``[probes × examples]`` members, probe by probe.

        Args:
          item: the factor.
          latent: the parent that has the probes' values; its other parents are known.
          probes: ``[probes, *event]``.
        """

        def value(name: str) -> Array:
            if name == latent:
                return jnp.repeat(probes, self.examples, axis=0)
            known = self.values[name]
            return jnp.tile(known, (len(probes),) + (1,) * (known.ndim - 1))

        return self.conditional(item, {name: value(name) for name in item.given}, len(probes) * self.examples)

    def log_probs(self, item: Factor, *parents: Array) -> Any:
        """Return a family's log-densities in nats at its known values, as a function of its latent parents.

        Args:
          item: the factor of a family.
          parents: its known parents, of a family that takes any.
        """
        owner, family = str(item.owner), item.source
        params, state = self.networks.params, self.networks.state.get(owner, {})
        ready = self.prepared[owner] if owner in self.prepared else family.prepare(params[owner], state)
        found = self.features.get(owner)
        found = family.features(state, self.values[item.variables[0]]) if found is None else found
        return family.log_probs(ready, found, *parents)
