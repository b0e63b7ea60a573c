"""The kernel density estimate: a weak number, where a model has nothing but samples."""

from __future__ import annotations

__all__ = ["Parzen", "kernel_density"]

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from vifx.checks import require_number
from vifx.evaluation.estimate import Estimate

_CHUNK = 500
_TRIED = 20


class Parzen(NamedTuple):
    """A kernel density estimate.

    Attributes:
      log_prob: of the points under the estimate, in nats; **not** a bound on the model's log-likelihood.
      bandwidth: the standard deviation h of the kernel that was chosen.
    """

    log_prob: Estimate
    bandwidth: float


def kernel_density(
    samples: ArrayLike, points: ArrayLike, *, validation: ArrayLike, bandwidths: Sequence[float] | None = None
) -> Parzen:
    """Return the log-density of points under Gaussian kernels around samples of a model: a **weak** number.

    ``log (1/n) Σ_i N(x; s_i, h² I)``, with the bandwidth h of the highest mean on the validation points. In many
    dimensions it says little: with any affordable number of samples it is far below the log-likelihood, and models are
    ranked by it otherwise than by their likelihood; k-means centres of the training data beat the data itself. It is
    here because it was published for models with samples alone; where there is a decoder, `certify` says more.

    Args:
      samples: of the model, ``[n, ...]``.
      points: of the test split, ``[m, ...]``, of the same shape each.
      validation: likewise, from another split than `points`.
      bandwidths: h to try; by default 20 from a hundredth to once the standard deviation of the samples.

    Raises:
      ValueError: shapes disagree, there is nothing, or a bandwidth is not positive.

    References:
      Parzen (1962); Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models,
      arXiv:1511.01844.

    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(size=(3, 400, 1))
    >>> found = kernel_density(draws[0], draws[1], validation=draws[2])
    >>> bool(abs(found.log_prob.mean + 1.42) < 0.1 and 0.1 < found.bandwidth < 0.9)  # −½ log(2πe) = −1.42
    True
    """
    centres, tested, chosen = (_rows(each) for each in (samples, points, validation))
    if len({each.shape[1] for each in (centres, tested, chosen)}) > 1 or 0 in (
        len(centres),
        len(tested),
        len(chosen),
        centres.shape[1],
    ):
        shapes = ", ".join(str(list(np.shape(each))) for each in (samples, points, validation))
        raise ValueError(f"samples, points and validation must have one event shape, and some of each: {shapes}.")
    spread = float(np.sqrt(centres.var(axis=0).mean()))
    tried = np.geomspace(0.01, 1, _TRIED) * (spread or 1.0) if bandwidths is None else np.asarray(bandwidths, float)
    for h in tried:
        require_number(float(h), "kernel_density: bandwidths", above=0)
    scores = _log_density(centres, chosen, tried).mean(axis=1)
    best = float(tried[int(np.argmax(scores))])
    note = f"kernel density of {len(centres):,} samples, h = {best:.3g}: weak, no bound"
    return Parzen(Estimate(_log_density(centres, tested, np.array([best]))[0], note), best)


def _rows(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values, np.float64)
    return array.reshape(len(array) if array.ndim else 1, math.prod(array.shape[1:]))


def _log_density(centres: NDArray[Any], points: NDArray[Any], bandwidths: NDArray[Any]) -> NDArray[Any]:
    """Return the log-density at each point for each bandwidth, ``[bandwidths, points]``."""
    squares, found = np.sum(centres**2, axis=1), []
    constant = math.log(len(centres)) + centres.shape[1] * np.log(math.sqrt(2 * math.pi) * bandwidths)
    for first in range(0, len(points), _CHUNK):
        part = points[first : first + _CHUNK]
        distances = np.maximum(squares[None] - 2 * part @ centres.T + np.sum(part**2, axis=1)[:, None], 0)
        found.append(np.stack([np.asarray(logsumexp(-distances / (2 * h**2), axis=1)) for h in bandwidths]))
    return np.concatenate(found, axis=1) - constant[:, None]
