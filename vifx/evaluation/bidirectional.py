"""Bidirectional Monte Carlo: log q(x) from both sides, and what one side is worth where no exact draw exists."""

from __future__ import annotations

__all__ = ["Sandwich", "bidirectional", "from_above", "require_even", "sandwiched"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from vifx.checks import ArgumentError, require_integer
from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.evaluation.annealed_importance import (
    ACCEPTANCE,
    CHAINS,
    LEAPFROG,
    TEMPERATURES,
    Annealed,
    annealed,
    laid_path,
)
from vifx.evaluation.annealed_path import Start
from vifx.evaluation.annealing import Ladder, Path, Spacing, backward, drawn_ends, forward, simulated
from vifx.evaluation.estimate import Estimate


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Both bounds on ``log q(x)`` of examples drawn from the model itself, in nats.

    Attributes:
      lower: per example; its expectation is at most log q(x).
      upper: per example, from exact draws of the posterior; its expectation is at least log q(x).
      approximate: the same from latents that the chains going forward have found, as for data of which no exact draw
        exists; no bound, and `mixing` says by how much it is off.
      annealed: the run forward.
      split: the examples.
    """

    lower: Estimate
    upper: Estimate
    approximate: Estimate
    annealed: Annealed
    split: Mapping[str, NDArray[np.generic]]

    @property
    def gap(self) -> Estimate:
        """Upper minus lower: on average at least the error of either of them."""
        return Estimate(self.upper.values - self.lower.values)

    @property
    def mixing(self) -> Estimate:
        """By how much the approximate upper bound is below the rigorous one of the same examples."""
        return Estimate(self.upper.values - self.approximate.values)


def bidirectional(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    simulations: int = 100,
    temperatures: int = TEMPERATURES,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    start: Start = "encoder",
    spacing: Spacing = "adaptive",
    acceptance: float = ACCEPTANCE,
    batch_size: int = 20,
    observe: Callable[[int], None] | None = None,
) -> Sandwich:
    """Bound ``log q(x)`` from both sides on data that the model draws itself, where both bounds are rigorous.

    With ``(x, z) ~ q(x, z)``, z is an exact draw of the posterior given x. Annealing goes back from it through the
    reversed moves; if its path had been made forward, its weight would be w*. Together with chains that go forward,

        E log (w* + Σ_{c=1}^{C/2} w_c) / (C/2 + 1) ≥ log q(x),

    since the mean over one chain backward and the others forward is the ratio of the distributions of all their paths.
    The mean is taken over both halves of the C chains, each with a chain of its own backward.

    For real data there is no exact draw. `certify` starts from the ends of the chains of one half instead, one drawn by
    weight and moved on at β = 1, for the upper bound with the other half. How much too low that is depends on how far
    these have mixed; here the same procedure stands beside the exact one.

    Args:
      key: gives each example keys of its own.
      inference: evidence and encoder; with ``start="prior"`` evidence is enough.
      generative: prior and decoder, with densities.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: what the model is given, if anything, is taken from here, and of the rest the shapes.
      simulations: how many examples are drawn.
      temperatures: how many moves a chain makes.
      chains: of each example, an even number.
      leapfrog: steps of a move.
      start: where paths begin, ``"encoder"`` or ``"prior"``.
      spacing: of the temperatures, as for `annealed_importance`.
      acceptance: of the moves, which the pilot aims at.
      batch_size: examples at a time.
      observe: called with the number of examples of each batch that is done.

    Raises:
      ValueError: as `annealed_importance`; the number of chains is odd.

    References:
      Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo,
      arXiv:1511.02543; Brekelmans et al. (2022), Improving mutual information estimation with annealed and energy-based
      bounds, arXiv:2303.06992, of several chains.
    """
    require_integer(simulations, "bidirectional: simulations", least=2)
    require_even(chains, "bidirectional: chains")
    path, ladder = laid_path(
        jax.random.fold_in(key, 0),
        (inference, generative, params, state, split),
        caller="bidirectional",
        temperatures=temperatures,
        chains=chains,
        leapfrog=leapfrog,
        start=start,
        spacing=spacing,
        acceptance=acceptance,
    )
    model, own = (params, state, split), jax.random.fold_in(key, 1)
    settings = {"examples": simulations, "batch_size": batch_size, "observe": observe}
    return sandwiched(own, path, ladder, *model, **settings)


def require_even(chains: int, name: str) -> None:
    """Check that chains can be halved.

    Raises:
      ArgumentError: if their number is odd.
    """
    require_integer(chains, name, least=2)
    if chains % 2:
        raise ArgumentError(name, f"must be even, since each half bounds with the other, got {chains}", value=chains)


def sandwiched(
    key: Key,
    path: Path,
    ladder: Ladder,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    examples: int,
    batch_size: int,
    observe: Callable[[int], None] | None,
) -> Sandwich:
    """Draw examples and bound their log q(x) from both sides; see `bidirectional`."""
    keys = [jax.random.fold_in(key, number) for number in range(4)]
    made, z = simulated(keys[0], path, params, state, split, examples=examples)
    settings = {"batch_size": batch_size, "observe": observe}
    found = forward(keys[1], path, ladder, params, state, made, **settings)
    upper, approximate = (
        from_above(own, path, ladder, params, state, made, found, exact=exact, **settings)
        for own, exact in ((keys[2], z), (keys[3], None))
    )
    run = annealed(path, ladder, found, made)
    return Sandwich(run.bound, Estimate(upper), Estimate(approximate), run, made)


def from_above(
    key: Key,
    path: Path,
    ladder: Ladder,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    found: Mapping[str, NDArray[np.generic]],
    *,
    exact: NDArray[np.generic] | None,
    batch_size: int,
    observe: Callable[[int], None] | None,
) -> NDArray[np.float64]:
    """Return the upper estimates of each example in nats, from exact draws of the posterior or from what was found."""
    log_weights = np.asarray(found["log_weights"], np.float64)
    half = log_weights.shape[1] // 2
    starts = drawn_ends(jax.random.fold_in(key, 0), log_weights, found["z"]) if exact is None else None
    starts = np.repeat(np.asarray(exact)[:, None], 2, axis=1) if starts is None else starts
    own = jax.random.fold_in(key, 1)
    settings = {"settle": exact is None, "batch_size": batch_size, "observe": observe}
    back = np.asarray(backward(own, path, ladder, params, state, split, starts, **settings), np.float64)
    # A chain back from one half's end meets the other half's weights, which its start does not depend on.
    together = [
        np.concatenate([back[:, :1], log_weights[:, half:]], axis=1),
        np.concatenate([back[:, 1:], log_weights[:, :half]], axis=1),
    ]
    return np.mean([logsumexp(each, axis=1) - np.log(half + 1) for each in together], axis=0)
