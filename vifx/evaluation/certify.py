"""Certify: bound log q(x) of examples from both sides, exactly where that can be done."""

from __future__ import annotations

__all__ = ["certify"]

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from vifx.checks import require_integer, require_number
from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.evaluation.annealed_importance import ACCEPTANCE, CHAINS, LEAPFROG, TEMPERATURES, annealed, laid_path
from vifx.evaluation.annealed_path import Start, default_start
from vifx.evaluation.annealing import Ladder, Path, Spacing, forward, settling_moves
from vifx.evaluation.bidirectional import from_above, require_even, sandwiched
from vifx.evaluation.certificate import Budget, Certificate, correction_of, slack_of
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.likelihood_bounds import elbo
from vifx.evaluation.tractable import exact_inference, noisy_decoder

_FEWEST = 20
"""Examples, given and simulated, below which nothing is certified."""
_ROUNDING = 1e-4
"""Relative to the likelihood: a larger difference of two evaluations is noise of a log-determinant."""


def certify(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    simulations: int | None = None,
    temperatures: int = TEMPERATURES,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    start: Start | None = None,
    spacing: Spacing = "adaptive",
    acceptance: float = ACCEPTANCE,
    noise: float | None = None,
    confidence: float = 0.95,
    widest: float = 1.0,
    batch_size: int = 20,
    observe: Callable[[int, int], None] | None = None,
) -> Certificate:
    """Certify ``log q(x)``: an interval of its mean over examples, with what each end rests on.

    Where log q(x) is a sum or a formula, it is exact: a joint without latents, such as a flow, or latents that
    `exact_posterior` sums (finite ones, Markov chains, linear Gaussian chains). Everywhere else
    `annealed_importance` bounds it from below, rigorously; from above, the same annealing goes back from latents that
    it has found, and `bidirectional`, on data simulated from the model, measures by how much that is off. See
    `Certificate` for what is claimed, and at which confidence.

    An interval of fewer than 20 examples or simulations, a width or a gap on simulated data above `widest`, or an upper
    end below the lower one is reported as ``unreliable``, with the reason.

    Args:
      key: gives each example keys of its own.
      inference: evidence, and perhaps an encoder.
      generative: every variable of the evidence.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis; ``"@weights"`` weigh the examples.
      simulations: how many examples are drawn from the model to check both bounds; half as many as are given, but at
        least 20, by default.
      temperatures: how many moves a chain makes.
      chains: of each example, an even number.
      leapfrog: steps of a move.
      start: where paths begin; by default the encoder where it has densities, else the prior.
      spacing: of the temperatures, as for `annealed_importance`.
      acceptance: of the moves, which the pilot aims at.
      noise: σ of ``q(x|z) = N(G(z), σ² I)`` for a decoder without a density, which has no likelihood of its own; the
        number stands beside the result, which depends on it.
      confidence: of the interval.
      widest: the width in nats above which the interval is called unreliable.
      batch_size: examples at a time.
      observe: called with the number of examples that are done, and of those that there are, counting each of the
        stages anew.

    Raises:
      ValueError: there is no evidence; a decoder has no density and no noise is given, or has one and noise is; a
        value is impossible under the model; a latent can neither be summed nor annealed; an argument is out of range.

    References:
      Grosse, Ghahramani and Adams (2015), arXiv:1511.02543; Wu et al. (2017), arXiv:1611.04273; Grosse, Ancha and Roy
      (2016), Measuring the reliability of MCMC inference with bidirectional Monte Carlo, arXiv:1606.02275.
    """
    require_number(confidence, "certify: confidence", above=0, below=1, hint="0.95 is usual")
    require_number(widest, "certify: widest", above=0)
    generative = noisy_decoder(inference, generative, noise)
    claim = {"confidence": confidence, "widest": widest, "noise": noise}
    exact = exact_inference(inference, generative)
    if exact is not None:
        return _exact(key, exact, generative, params, state, split, batch_size=batch_size, **claim)
    require_even(chains, "certify: chains")
    count = len(np.asarray(next(iter(split.values()))))
    simulations = max(_FEWEST, count // 2) if simulations is None else simulations
    require_integer(simulations, "certify: simulations", least=2)
    began = time.perf_counter()
    path, ladder = laid_path(
        jax.random.fold_in(key, 0),
        (inference, generative, params, state, split),
        caller="certify",
        temperatures=temperatures,
        chains=chains,
        leapfrog=leapfrog,
        start=start or default_start(inference, generative),
        spacing=spacing,
        acceptance=acceptance,
    )
    settings = {"simulations": simulations, "batch_size": batch_size, "observe": observe, "began": began}
    return _annealed(jax.random.fold_in(key, 1), path, ladder, params, state, split, **settings, **claim)


def _annealed(
    key: Key,
    path: Path,
    ladder: Ladder,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    simulations: int,
    confidence: float,
    widest: float,
    noise: float | None,
    batch_size: int,
    observe: Callable[[int, int], None] | None,
    began: float,
) -> Certificate:
    count = len(np.asarray(next(iter(split.values()))))
    keys = [jax.random.fold_in(key, number) for number in range(3)]
    done = 0

    def told(examples: int) -> None:
        nonlocal done
        done += examples
        if observe is not None:
            observe(min(done, 2 * count + 3 * simulations), 2 * count + 3 * simulations)

    # One size for all stages, so that each program is compiled once.
    settings = {"batch_size": min(batch_size, count, simulations), "observe": told}
    found = forward(keys[0], path, ladder, params, state, split, **settings)
    above = from_above(keys[1], path, ladder, params, state, split, found, exact=None, **settings)
    made = sandwiched(keys[2], path, ladder, params, state, split, examples=simulations, **settings)
    run = annealed(path, ladder, found, split)
    weights = run.bound.weights
    moves = len(ladder.lengths)
    back = (moves + settling_moves(moves)) * (2 * count + 4 * simulations)
    budget = Budget(
        temperatures=moves,
        chains=path.chains,
        leapfrog=path.leapfrog,
        gradients=path.leapfrog * (moves * (count + simulations) * path.chains + back),
        seconds=time.perf_counter() - began,
    )
    certificate = Certificate(
        kind="annealed",
        confidence=confidence,
        below=run.bound,
        above=Estimate(above, weights=weights),
        slack=slack_of(weights, count, confidence),
        correction=correction_of(made.mixing, confidence),
        widest=widest,
        event_shape=_event_shape(path.inference, path.generative, split),
        simulated=made,
        annealed=run,
        budget=budget,
        noise=noise,
    )
    return replace(certificate, unreliable=_doubt(certificate))


def _doubt(found: Certificate) -> str:
    """Return why an interval should not be relied on; empty if nothing speaks against it."""
    made = found.simulated
    counts = [len(found.below.values)] + ([len(made.gap.values)] if made is not None else [])
    fix = "take more temperatures"
    if min(counts) < _FEWEST:
        return f"of {min(counts)} examples, given or simulated, nothing can be certified; take at least {_FEWEST}"
    if not math.isfinite(found.width):
        return f"an end is not finite; {fix}, or start from the prior"
    if made is not None and made.gap.mean > found.widest:
        return f"on simulated data the bounds are {made.gap.mean:.2f} nats apart, more than {found.widest:g}; {fix}"
    if found.width > found.widest:
        return f"the interval is {found.width:.2f} nats wide, more than {found.widest:g}; {fix} or examples"
    if found.above.mean + found.slack < found.below.mean - found.slack:
        return f"the upper end is below the lower one before it is corrected: chains have not mixed; {fix}"
    return ""


def _event_shape(inference: Joint, generative: Joint, split: Mapping[str, ArrayLike]) -> tuple[int, ...]:
    """Return the shape of what is modelled of an example, all variables of it as one vector if they are several."""
    entries = {variable: entry for item in inference.factors for variable, entry in item.entries.items()}
    modelled = [entry for variable, entry in entries.items() if variable not in generative.observed]
    shapes = [np.shape(split[entry])[1:] for entry in modelled]
    return tuple(shapes[0]) if len(shapes) == 1 else (sum(math.prod(shape) for shape in shapes),)


def _exact(
    key: Key,
    inference: Joint,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    batch_size: int,
    confidence: float,
    widest: float,
    noise: float | None,
) -> Certificate:
    """Return the certificate of a likelihood that is a formula: of zero width, but for a noisy log-determinant."""
    arguments = (inference, generative, params, state, split)
    first, second = (
        elbo(jax.random.fold_in(key, number), *arguments, batch_size=batch_size)["elbo"] for number in range(2)
    )
    one, other = (np.asarray(each.values, np.float64) for each in (first, second))
    apart = (one - other) / 2
    noisy = bool(np.any(np.abs(apart) > _ROUNDING * (1 + np.abs(one))))
    mean = Estimate((one + other) / 2 if noisy else one, weights=first.weights)
    shares = np.full(len(one), 1 / len(one)) if first.weights is None else first.weights / np.sum(first.weights)
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    found = Certificate(
        kind="estimated log-determinant" if noisy else "exact",
        confidence=confidence,
        below=mean,
        above=mean,
        slack=quantile * float(np.sqrt(np.sum(np.square(shares * apart)))) if noisy else 0.0,
        correction=0.0,
        widest=widest,
        event_shape=_event_shape(inference, generative, split),
        noise=noise,
    )
    return replace(found, unreliable=_doubt(found) if noisy else "")
