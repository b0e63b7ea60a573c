"""Annealed importance sampling: log q(x) of models with continuous latents, from below."""

from __future__ import annotations

__all__ = ["Annealed", "annealed", "annealed_importance", "laid_path"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from vifx.checks import require_choice, require_integer, require_number
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.support import check_supports
from vifx.core.types import Key, Params, State
from vifx.evaluation.annealed_path import Start, latents_of
from vifx.evaluation.annealing import Ladder, Path, Spacing, forward, pilot
from vifx.evaluation.estimate import Estimate

TEMPERATURES, CHAINS, LEAPFROG, ACCEPTANCE = 300, 16, 5, 0.65


@dataclass(frozen=True, eq=False)
class Annealed:
    """What annealed importance sampling found, example by example.

    Attributes:
      bound: ``log (1/C) Σ_c w_c`` of each example in nats; its expectation is at most log q(x).
      log_weights: of each chain, ``[examples, chains]`` in nats.
      effective_samples: ``(Σ w)² / Σ w²`` of each example, from 1 to the number of chains.
      acceptance: the share of the moves that were taken, at each temperature, ``[temperatures]``.
      temperatures: the inverse temperatures β, from 0 to 1, ``[temperatures + 1]``.
      lengths: of the leapfrog steps at each temperature but 0, in units of the scales of the latents.
      leapfrog: steps of a move.
      gradients: how often the gradient of the log-density of a latent was taken, in all.
      start: where the path began.
      ends: where the chains ended, ``[examples, chains, size]``: draws of the posterior, as far as they have mixed and
        if they are weighted.
    """

    bound: Estimate
    log_weights: NDArray[Any]
    effective_samples: Estimate
    acceptance: NDArray[Any]
    temperatures: NDArray[Any]
    lengths: NDArray[Any]
    leapfrog: int
    gradients: int
    start: Start
    ends: NDArray[Any]


def annealed_importance(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    temperatures: int = TEMPERATURES,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    start: Start = "encoder",
    spacing: Spacing = "adaptive",
    acceptance: float = ACCEPTANCE,
    batch_size: int = 20,
    observe: Callable[[int], None] | None = None,
) -> Annealed:
    """Return a lower bound on ``log q(x)`` of each example that is tight where enough temperatures are given.

    Chains are drawn from ``f_0 = p(z|x)`` (or the prior q(z)) and moved along ``f_β = f_0^{1−β} q(x, z)^β`` through
    inverse temperatures ``0 = β_0 < … < β_T = 1`` by Hamiltonian Monte Carlo that leaves each f_β as it is. Weights

        log w = Σ_t (β_t − β_{t−1}) [log q(x, z_{t−1}) − log f_0(z_{t−1})]

    of the chains have the expectation ``E w = q(x)``, exactly, however well the moves mix; so by Jensen's inequality
    ``E log (1/C) Σ_c w_c ≤ log q(x)``. All latents of the joints move together, through the joints' own log-densities;
    those on a fixed set other than the real numbers (positive numbers, shares, …) in NumPyro's coordinates of it.
    Discrete latents are refused. For models given y, it is log q(x|y).

    A pilot on a few examples, whose noise is its own, tunes the length of the leapfrog steps at every temperature to
    the stated acceptance, and lays the temperatures. The mass is one over the squared scale of each latent under the
    encoder, as 32 draws of it tell.

    Args:
      key: gives each example keys of its own; the result does not depend on `batch_size` beyond rounding.
      inference: evidence and encoder; with ``start="prior"`` evidence is enough.
      generative: prior and decoder, with densities.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis; ``"@weights"`` weigh the examples.
      temperatures: T, how many moves a chain makes.
      chains: C, of each example.
      leapfrog: steps of a move, each of which takes one gradient.
      start: ``"encoder"``, or ``"prior"``, which needs more temperatures.
      spacing: ``"adaptive"``, at equal thermodynamic lengths; ``"sigmoid"``, dense at both ends; or ``"linear"``.
      acceptance: of the moves, which the pilot aims at.
      batch_size: examples at a time.
      observe: called with the number of examples of each batch that is done.

    Raises:
      ValueError: a factor has no density, a latent is discrete or of a set without coordinates, a value is impossible
        under the model, or an argument is out of range.

    References:
      Neal (2001), Annealed importance sampling, arXiv:physics/9803008; Wu et al. (2017), On the quantitative analysis
      of decoder-based generative models, arXiv:1611.04273; Gelman and Meng (1998), of thermodynamic lengths.
    """
    path, ladder = laid_path(
        jax.random.fold_in(key, 0),
        (inference, generative, params, state, split),
        caller="annealed_importance",
        temperatures=temperatures,
        chains=chains,
        leapfrog=leapfrog,
        start=start,
        spacing=spacing,
        acceptance=acceptance,
    )
    settings = {"batch_size": batch_size, "observe": observe}
    found = forward(jax.random.fold_in(key, 1), path, ladder, params, state, split, **settings)
    return annealed(path, ladder, found, split)


def laid_path(
    key: Key,
    model: tuple[Joint, Joint, Params, State, Mapping[str, ArrayLike]],
    *,
    caller: str,
    temperatures: int,
    chains: int,
    leapfrog: int,
    start: Start,
    spacing: Spacing,
    acceptance: float,
) -> tuple[Path, Ladder]:
    """Check what is to be annealed, and find its temperatures and step lengths by a pilot.

    Raises:
      ValueError: as `annealed_importance`.
    """
    inference, generative, params, state, split = model
    require_integer(temperatures, f"{caller}: temperatures")
    require_integer(chains, f"{caller}: chains")
    require_integer(leapfrog, f"{caller}: leapfrog")
    require_choice(spacing, get_args(Spacing), f"{caller}: spacing")
    require_number(acceptance, f"{caller}: acceptance", above=0, below=1, hint="0.65 is usual")
    latents = latents_of(inference, generative, start, caller=caller)
    known = inference
    if start == "prior":  # the inference joint may have no latents, or others
        first = [item for item in inference.factors if item.kind == "evidence"]
        known = Joint(*first, *(item for item in generative.modelled if item.variables[0] in latents))
    check_supports(known, generative, params, state, split)
    path = Path(inference, generative, start, latents, chains, leapfrog)
    settings = {"temperatures": temperatures, "spacing": spacing, "acceptance": acceptance}
    return path, pilot(key, path, params, state, split, **settings)


def annealed(path: Path, ladder: Ladder, found: Mapping[str, NDArray[Any]], split: Mapping[str, ArrayLike]) -> Annealed:
    """Return what a run forward found, as it is reported."""
    weights = np.asarray(split[WEIGHTS]) if WEIGHTS in split else None
    log_weights = np.asarray(found["log_weights"], np.float64)
    total = np.asarray(logsumexp(log_weights, axis=1))
    effective = np.exp(2 * total - np.asarray(logsumexp(2 * log_weights, axis=1)))
    bound = total - math.log(path.chains)
    return Annealed(
        bound=Estimate(bound, f"lower bound, {path.chains} chains of {len(ladder.lengths)} temperatures", weights),
        log_weights=log_weights,
        effective_samples=Estimate(effective, weights=weights),
        acceptance=np.asarray(found["acceptance"]).mean(axis=0),
        temperatures=np.asarray(ladder.temperatures),
        lengths=np.asarray(ladder.lengths),
        leapfrog=path.leapfrog,
        gradients=log_weights.size * len(ladder.lengths) * path.leapfrog,
        start=path.start,
        ends=found["z"],
    )
