"""Certificates: an interval of log q(x), what each of its ends rests on, and what it cost."""

from __future__ import annotations

__all__ = ["Budget", "Certificate", "correction_of", "slack_of"]

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vifx.evaluation.annealed_importance import Annealed
from vifx.evaluation.bidirectional import Sandwich
from vifx.evaluation.estimate import Estimate, minus
from vifx.evaluation.likelihood import bits_per_dim

Kind: TypeAlias = Literal["exact", "estimated log-determinant", "annealed"]
"""What an interval rests on: sums and formulas, a noisy log-determinant, or annealing."""


@dataclass(frozen=True)
class Budget:
    """What annealing took.

    Attributes:
      temperatures: moves of a chain.
      chains: of each example.
      leapfrog: steps of a move.
      gradients: of the log-density of one latent, in all, those of simulated data included.
      seconds: of wall clock, compilation included.
    """

    temperatures: int
    chains: int
    leapfrog: int
    gradients: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.temperatures:,} temperatures × {self.chains} chains × {self.leapfrog} leapfrog steps, "
            f"{self.gradients:,} gradients, {self.seconds:,.0f} s"
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Certificate:
    """``log q(x) ∈ [lower, upper]`` in nats, the mean over the examples that were given; made by `certify`.

    The lower end is **rigorous**: with at least the probability ``(1 + confidence) / 2`` over the draws of annealing it
    is below the mean of log q(x) of these examples. Since ``E ŵ_i = q(x_i)`` independently for each example,
    ``Π_i (ŵ_i / q(x_i))^{p_i / max p}`` has an expectation of at most 1, p_i the shares of the examples, and Markov's
    inequality gives

        P( Σ_i p_i log ŵ_i − max p · log(1/δ) > Σ_i p_i log q(x_i) ) ≤ δ,   δ = (1 − confidence) / 2,

    without any assumption on variances or mixing; `slack` is that last term, ``log(1/δ)/n`` for n examples alike. On
    data drawn from the model the upper end is rigorous in the same way, see `simulated`. On other data the upper end is
    **calibrated**: its chains start near the posterior instead of in it; by how much that misses on simulated data,
    with the upper end of its confidence interval, is added (`correction`). It holds as far as chains mix on the
    examples as they do on simulated ones.

    Of a single example, ``per_example`` has the interval by Markov's inequality for it alone, which is wide:
    log(1/δ) = 3.7 nats on either side at 95 %.

    Attributes:
      kind: ``"exact"``: of zero width; ``"annealed"``; or ``"estimated log-determinant"``, unbiased with noise.
      confidence: of the interval, both ends together.
      below: the lower estimate of each example; its mean is `lower` plus `slack`.
      above: the upper estimate of each example; its mean is `upper` minus `slack` and `correction`.
      slack: what the confidence takes at either end, in nats.
      correction: what the calibration adds at the upper end, in nats.
      simulated: both bounds on data drawn from the model; None where nothing was annealed.
      annealed: the run forward on the examples; None likewise.
      budget: what it took; None likewise.
      widest: what the width, and the gap on simulated data, may be at most.
      noise: the standard deviation of the observation noise that was declared for a decoder without a density.
      unreliable: why the interval should not be relied on; empty if nothing speaks against it.
      event_shape: of one example of what is modelled, as the model sees it.
      offset: nats per dimension that bits per dimension add: log 256 for a density of dequantized 8-bit pixels.
    """

    kind: Kind
    confidence: float
    below: Estimate
    above: Estimate
    slack: float
    correction: float
    widest: float
    event_shape: tuple[int, ...]
    offset: float = 0.0
    simulated: Sandwich | None = None
    annealed: Annealed | None = None
    budget: Budget | None = None
    noise: float | None = None
    unreliable: str = ""

    @property
    def lower(self) -> float:
        """The lower end, in nats, the mean over the examples."""
        return self.below.mean - self.slack

    @property
    def upper(self) -> float:
        """The upper end, likewise."""
        return self.above.mean + self.slack + self.correction

    @property
    def width(self) -> float:
        """Upper minus lower, in nats."""
        return self.upper - self.lower

    @property
    def per_example(self) -> NDArray[np.float64]:
        """The interval of each example at the same confidence, each for itself, ``[examples, 2]`` in nats."""
        alone = 0.0 if self.kind != "annealed" else math.log(2 / (1 - self.confidence))
        low = np.asarray(self.below.values, np.float64) - alone
        return np.stack([low, np.asarray(self.above.values, np.float64) + alone + self.correction], axis=1)

    @property
    def bits_per_dim(self) -> tuple[float, float]:
        """The interval as bits per dimension, the code length: its lower end is from the upper bound on log q(x).

        With an `offset` it bounds the code length of the pixels from above, by Jensen's inequality for their noise.
        """
        ends = (self.upper, self.lower)
        low, high = (float(bits_per_dim(-end, self.event_shape, offset=self.offset)) for end in ends)
        return low, high

    @property
    def lines(self) -> list[str]:
        """What the certificate says, sentence by sentence."""
        count = len(self.below.values)
        interval = f"log q(x) ∈ [{minus(f'{self.lower:.3f}')}, {minus(f'{self.upper:.3f}')}] nats"
        if self.noise is not None:
            interval += f", with the observation noise σ = {self.noise:g} that was declared"
        error = f"; ± {self.below.standard_error:.3f} over examples of the same distribution" if count > 1 else ""
        found = [f"{interval}: the mean of {count:,} example{'s' if count != 1 else ''}{error}"]
        bits = [minus(f"{end:.4f}") for end in self.bits_per_dim]
        of = "; a bound on the code length of the pixels from above, dequantized once" if self.offset else ""
        found.append(f"−log q(x) ∈ [{bits[0]}, {bits[1]}] bits/dim, the lower end from the upper bound{of}")
        if self.kind == "exact":
            return [*found, "exact: no estimate and no bound is involved, so the width is zero"]
        if self.kind == "estimated log-determinant":
            noisy = "the log-determinant is an unbiased estimate, of which the interval holds two standard errors"
            return [*found, noisy]
        return [*found, *self._annealed_lines()]

    def _annealed_lines(self) -> list[str]:
        run, made = self.annealed, self.simulated
        if run is None or made is None:
            return []
        share = 100 * (1 + self.confidence) / 2
        low = f"lower end: rigorous, with probability {share:.4g} % (annealed importance sampling, Markov's inequality)"
        calibrated = (
            "upper end: calibrated, not rigorous: back from where chains ended, corrected by "
            f"{self.correction:.3f} nats, which this misses on simulated data"
        )
        gap, excess = made.gap, Estimate(-made.mixing.values)
        check = (
            f"on {len(gap.values):,} simulated examples, where both sides are rigorous, the gap is {gap:.3f} nats, and "
            f"the calibrated upper side is above the rigorous one by {excess:.3f}"
        )
        moves = f"acceptance {run.acceptance.mean():.2f}, from {run.acceptance.min():.2f} to {run.acceptance.max():.2f}"
        effective = f"effective chains {run.effective_samples.mean:.1f} of {run.log_weights.shape[1]}"
        taken = [f"from the {run.start}: {self.budget}; {moves}; {effective}"]
        return [low, calibrated, check, *taken, *([f"unreliable: {self.unreliable}"] if self.unreliable else [])]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __repr__(self) -> str:
        trust = ", unreliable" if self.unreliable else ""
        return f"Certificate([{self.lower:.3f}, {self.upper:.3f}] nats, {self.kind}{trust})"


def slack_of(weights: NDArray[np.number] | None, count: int, confidence: float) -> float:
    """Return ``max p · log(2 / (1 − confidence))``: what Markov's inequality takes from a mean, in nats."""
    shares = np.full(count, 1 / count) if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
    return float(np.max(shares)) * math.log(2 / (1 - confidence))


def correction_of(mixing: Estimate, confidence: float) -> float:
    """Return what a calibrated upper end adds: the most that it misses on simulated data, at a confidence."""
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    return max(0.0, mixing.mean + quantile * mixing.standard_error)
