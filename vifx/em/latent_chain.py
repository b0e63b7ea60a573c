"""The latent of a joint that is a chain, and how its exact posterior is found."""

from __future__ import annotations

__all__ = ["Filtered", "LatentChain", "latent_chain"]

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from vifx.core.factor import Factor
from vifx.core.turn import Expected
from vifx.core.types import Array, Batch
from vifx.distributions import Categorical, GaussianChain, MarkovChain, MultivariateNormal, kalman
from vifx.em import forward_backward
from vifx.em.chain_expectations import chain_expected, chain_posterior, chain_table
from vifx.em.forward_backward import ChainTable
from vifx.em.gaussian_expectations import GaussianTable, gaussian_expected, gaussian_posterior, gaussian_table
from vifx.em.given import Given


class Filtered(NamedTuple):
    """What is known of each step of a latent chain from the observations up to it.

    Attributes:
      log_probs: ``log q(x_t | x_1 … x_{t−1})`` in nats, ``[examples, T]``; their sum over time is the log-density of
        all that the chain emits.
      current: ``p(z_t | x_1 … x_t)``, a distribution of one state with the batch ``[examples, T]``.
      predicted: ``p(z_t | x_1 … x_{t−1})``, likewise.
    """

    log_probs: Array
    current: Any
    predicted: Any


class LatentChain(NamedTuple):
    """A latent whose prior is a chain, with its exact posterior.

    Attributes:
      variable: the latent.
      posterior: from the temperature to ``p(z | x)``, a chain, which no gradient flows through.
      expected: ``(families, temperature, batch) -> Expected``: the statistics of every family.
      filtered: what is known of each step from the observations up to it, and from those before it.
    """

    variable: str
    posterior: Callable[[float | Array], Any]
    expected: Callable[[Sequence[Factor], float | Array, Batch], Expected]
    filtered: Callable[[], Filtered]


def latent_chain(given: Given) -> LatentChain | None:
    """Return the latent whose prior is a chain, of finitely many states or Gaussian; None if there is none."""
    for item in given.joint.modelled:
        if item.variables[0] in given.values or not all(name in given.values for name in item.given):
            continue
        prior = given.conditional(item, given.values, given.examples)
        if isinstance(prior, MarkovChain):
            table = chain_table(given, item, prior)
            expected = partial(chain_expected, given, table)
            known = partial(_of_states, table)
            return LatentChain(item.variables[0], partial(chain_posterior, table), expected, known)
        if isinstance(prior, GaussianChain):
            steps = gaussian_table(given, item, prior)
            expected = partial(gaussian_expected, given, steps)
            known = partial(_of_vectors, steps)
            return LatentChain(item.variables[0], partial(gaussian_posterior, steps), expected, known)
    return None


def _of_states(table: ChainTable) -> Filtered:
    log_probs, current, predicted = forward_backward.filtered(table)
    return Filtered(log_probs, Categorical(current), Categorical(predicted))


def _of_vectors(table: GaussianTable) -> Filtered:
    found = kalman.filtered(table.prior, table.evidence)
    current = MultivariateNormal(found.means, found.scale_trils)
    return Filtered(found.log_probs, current, MultivariateNormal(found.predicted_means, found.predicted_scale_trils))
