"""The Gaussian that any density model has to beat."""

from __future__ import annotations

__all__ = ["gaussian_nll"]

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gaussian_nll(train: ArrayLike, test: ArrayLike) -> NDArray[np.float64]:
    """Return the negative log-likelihood of test points under the full Gaussian that fits the training points best.

    ``−log N(x; μ, Σ)`` with the mean μ and the covariance Σ (divided by n) of the training points, in double precision.

    Args:
      train: ``[examples, dimensions]``, more examples than dimensions.
      test: ``[n, dimensions]``.

    Returns:
      ``[n]``, in nats.

    Raises:
      ValueError: if the points are not matrices of one width, or the covariance is singular.

    >>> import math
    >>> nll = gaussian_nll([[-1.0], [1.0]], [[0.0]])
    >>> math.isclose(nll[0], 0.5 * math.log(2 * math.pi))
    True
    """
    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or 0 in train.shape:
        raise ValueError(
            f"train and test must be [examples, dimensions] with the same dimensions, got {train.shape} and "
            f"{test.shape}; flatten images first."
        )
    mean = train.mean(axis=0)
    centred = train - mean
    covariance = centred.T @ centred / len(train)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"train has a singular covariance ({len(train)} examples, {train.shape[1]} dimensions); give more "
            "examples, and no dimension that is constant or a combination of others (dequantize pixels)."
        ) from error
    standard = np.linalg.solve(factor, (test - mean).T)
    log_scale = np.log(np.diag(factor)).sum()
    return 0.5 * np.sum(standard**2, axis=0) + log_scale + 0.5 * train.shape[1] * np.log(2 * np.pi)
