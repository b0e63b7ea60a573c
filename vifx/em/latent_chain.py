"""The latent of a joint that is a chain, and how its exact posterior is found."""

from __future__ import annotations

__all__ = ["LatentChain", "latent_chain"]

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from vifx.core.factor import Factor
from vifx.core.turn import Expected
from vifx.core.types import Array, Batch
from vifx.distributions import GaussianChain, MarkovChain
from vifx.em.chain_expectations import chain_expected, chain_posterior, chain_table
from vifx.em.gaussian_expectations import gaussian_expected, gaussian_posterior, gaussian_table
from vifx.em.given import Given


class LatentChain(NamedTuple):
    """A latent whose prior is a chain, with its exact posterior.

    Attributes:
      variable: the latent.
      posterior: from the temperature to ``p(z | x)``, a chain, which no gradient flows through.
      expected: ``(families, temperature, batch) -> Expected``: the statistics of every family.
    """

    variable: str
    posterior: Callable[[float | Array], Any]
    expected: Callable[[Sequence[Factor], float | Array, Batch], Expected]


def latent_chain(given: Given) -> LatentChain | None:
    """Return the latent whose prior is a chain, of finitely many states or Gaussian; None if there is none."""
    for item in given.joint.modelled:
        if item.variables[0] in given.values or not all(name in given.values for name in item.given):
            continue
        prior = given.conditional(item, given.values, given.examples)
        if isinstance(prior, MarkovChain):
            table = chain_table(given, item, prior)
            expected = partial(chain_expected, given, table)
            return LatentChain(item.variables[0], partial(chain_posterior, table), expected)
        if isinstance(prior, GaussianChain):
            steps = gaussian_table(given, item, prior)
            expected = partial(gaussian_expected, given, steps)
            return LatentChain(item.variables[0], partial(gaussian_posterior, steps), expected)
    return None
