"""Whether a critic's probability of the origin is the share of samples that come from it."""

from __future__ import annotations

__all__ = ["critic_calibration"]

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from vifx.evaluation.binned import Calibration, by_bins


def critic_calibration(logits: ArrayLike, origins: ArrayLike, *, bins: int = 15) -> Calibration:
    """Compare ``D(s) = σ(ℓ(s))`` of a critic with how often s was drawn from A, bin by bin of D.

    The best critic has ``ℓ = log A/B`` and ``D = A/(A + B)``, equations (5) and (6): it is calibrated, its `error` is
    what chance leaves (`Calibration.chance`), and 0 where `origins` are the exact probabilities. A critic that is
    calibrated need not be the best one: one that always says ½ is, on equally many samples of both.

    Args:
      logits: ``ℓ(s)`` of samples of ½A + ½B, which the critic was not trained on, ``[n]``.
      origins: 1 for a sample of A and 0 for one of B, ``[n]``; or where both densities are known, the probability
        ``A(s)/(A(s) + B(s))``, which takes the noise of the labels away.
      bins: how many, of as equal a mass as ties allow.

    Returns:
      By bins: ``confidence``, the mean D; ``accuracy``, the mean of `origins`; ``share``; and ``spread``, the standard
      deviation of labels of a calibrated critic. `reliability_diagram` draws it.

    Raises:
      TypeError: if `bins` is not an integer.
      ValueError: if `bins` is not positive, the two are not of one length, a logit is NaN, or an origin is not from 0
      to 1.

    Reference: Azadi et al., Discriminator rejection sampling, 2019, for calibrated critics.

    >>> round(critic_calibration([0.0, 0.0], [1, 0]).error, 6)  # it cannot tell, and says so
    0.0
    """
    logits, origins = np.asarray(logits, np.float64), np.asarray(origins, np.float64)
    if logits.ndim != 1 or logits.shape != origins.shape or not len(logits) or np.isnan(logits).any():
        raise ValueError(
            f"logits and origins must be [n] of numbers, one of each a sample, got {logits.shape} and {origins.shape}, "
            f"with {int(np.isnan(logits).sum())} NaN among the logits."
        )
    if not ((origins >= 0) & (origins <= 1)).all():
        raise ValueError(f"origins must be from 0 to 1, got {origins.min():g} to {origins.max():g}.")
    return by_bins(expit(logits), origins, np.full(len(logits), 1 / len(logits)), bins=bins)
