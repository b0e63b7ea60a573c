"""The Fréchet distance: of two Gaussians in closed form, and of those that are fitted to two sets of features."""

from __future__ import annotations

__all__ = ["frechet_distance", "gaussian_frechet_distance"]

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.feature_rows import feature_rows, require_equal_size


def gaussian_frechet_distance(
    mean_a: ArrayLike, covariance_a: ArrayLike, mean_b: ArrayLike, covariance_b: ArrayLike
) -> float:
    """Return the squared Fréchet (2-Wasserstein) distance of two Gaussians, in closed form.

    ``‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)``, in the squared unit of the features. Where the covariances
    commute the trace is ``‖Σ_a^½ − Σ_b^½‖²`` in the Frobenius norm. The square roots are taken by eigenvalues, so that
    covariances may be singular.

    Args:
      mean_a: ``[features]``.
      covariance_a: symmetric and positive semidefinite, ``[features, features]``.
      mean_b: as `mean_a`.
      covariance_b: as `covariance_a`.

    Raises:
      ValueError: if the shapes do not fit, or a covariance is not symmetric, or has an eigenvalue that is negative
        beyond rounding.

    References:
      Dowson and Landau, The Fréchet distance between multivariate normal distributions, 1982.

    >>> gaussian_frechet_distance([0.0], [[4.0]], [3.0], [[1.0]])  # 3² + (2 − 1)²
    10.0
    """
    means = [np.asarray(mean, np.float64) for mean in (mean_a, mean_b)]
    covariances = [np.asarray(covariance, np.float64) for covariance in (covariance_a, covariance_b)]
    size = means[0].shape
    if len(size) != 1 or means[1].shape != size or any(each.shape != (*size, *size) for each in covariances):
        raise ValueError(
            "means must be [features] and covariances [features, features], got shapes "
            f"{means[0].shape}, {covariances[0].shape}, {means[1].shape} and {covariances[1].shape}."
        )
    root, _ = (_root(each, name) for each, name in zip(covariances, ("covariance_a", "covariance_b"), strict=True))
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    shift = np.sum((means[0] - means[1]) ** 2)
    return float(shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross)


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Return `gaussian_frechet_distance` of the Gaussians that are fitted to two sets of features ``[n, features]``.

    With unbiased covariances; the bias of the distance is of order ``1/n``, so the two sets must have one size, and
    values of different sizes cannot be compared. With fewer rows than features the covariances are singular, and most
    of the distance is that bias.

    Raises:
      ValueError: if the sets differ in size or have fewer than two rows.
    """
    a, b = feature_rows(a, "a"), feature_rows(b, "b")
    require_equal_size(a, b, "a", "b", least=2)
    fitted = [(x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (a, b)]
    return gaussian_frechet_distance(*fitted[0], *fitted[1])


def _root(covariance: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return the symmetric square root of a positive semidefinite matrix."""
    spectrum, vectors = np.linalg.eigh(covariance)
    rounding = 1e-8 * max(np.abs(spectrum).max(), np.finfo(np.float64).tiny)
    if np.abs(covariance - covariance.T).max() > rounding or spectrum[0] < -rounding:
        raise ValueError(
            f"{name} must be symmetric and positive semidefinite, got an asymmetry of "
            f"{np.abs(covariance - covariance.T).max():.3g} and a smallest eigenvalue of {spectrum[0]:.3g}."
        )
    return (vectors * np.sqrt(np.maximum(spectrum, 0))) @ vectors.T
