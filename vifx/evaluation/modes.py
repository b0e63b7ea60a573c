"""Modes: how many of a known mixture's modes a sampler finds, and how well it fills them."""

from __future__ import annotations

__all__ = ["ModeCoverage", "expected_high_quality", "measure_modes", "mode_coverage"]

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer, require_number
from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.data import Modes
from vifx.evaluation.batches import samples as drawn
from vifx.evaluation.measure import Measure


class ModeCoverage(NamedTuple):
    """How samples lie about the modes of a mixture.

    Attributes:
      captured: how many modes have at least one sample within the radius.
      high_quality: the share of samples within the radius of their nearest mode; `expected_high_quality` for a
        perfect generator, and more than that only for one whose modes are too narrow.
      counts: how many samples have each mode as their nearest, ``[modes]``.
      counts_kl: the Kullback–Leibler divergence of the counts' shares from uniform, in nats: log(modes) when all
        samples are at one mode, and about (modes − 1) / 2n for n samples of the mixture itself.
    """

    captured: int
    high_quality: float
    counts: NDArray[Any]
    counts_kl: float


def mode_coverage(samples: ArrayLike, centres: ArrayLike, scale: ArrayLike, *, radius: float = 3.0) -> ModeCoverage:
    """Count the modes that samples capture, and the samples that are at a mode.

    Distances are Euclidean and in units of the mode's own scale, so that with modes of different scales the
    nearest one is the one that is the fewest standard deviations away.

    Args:
      samples: ``[n, dimensions]``.
      centres: ``[modes, dimensions]``.
      scale: the modes' standard deviation along every axis, one for all or ``[modes]``.
      radius: how far around its centre a mode reaches, in standard deviations.

    Raises:
      ValueError: if the shapes do not fit, a sample is not finite, or a scale or the radius is not positive.

    Reference: Srivastava et al., VEEGAN, 2017.

    >>> found = mode_coverage([[0.1], [0.2], [5.0]], centres=[[0.0], [4.0]], scale=0.1)
    >>> found.captured, round(found.high_quality, 2), found.counts.tolist()
    (1, 0.67, [2, 1])
    """
    distances = _distances(samples, centres, scale)
    require_number(radius, "radius", above=0, hint="it is in standard deviations")
    inside = distances <= radius
    counts = np.bincount(distances.argmin(axis=1), minlength=distances.shape[1])
    shares = counts[counts > 0] / counts.sum()
    return ModeCoverage(
        captured=int(inside.any(axis=0).sum()),
        high_quality=float(inside.any(axis=1).mean()),
        counts=counts,
        counts_kl=float(max(0.0, np.sum(shares * np.log(shares * len(counts))))),
    )


def expected_high_quality(dimensions: int, *, radius: float = 3.0) -> float:
    """Return the share of a Gaussian within `radius` standard deviations of its centre: a χ probability.

    In the plane it is ``1 − exp(−radius²/2)``. For modes that do not overlap this is what a perfect generator scores.

    Args:
      dimensions: of the space.
      radius: in standard deviations.

    Raises:
      ValueError: if `dimensions` or `radius` is not positive.

    >>> round(expected_high_quality(2), 4)
    0.9889
    """
    require_integer(dimensions, "dimensions")
    require_number(radius, "radius", above=0, hint="it is in standard deviations")
    from scipy.special import gammainc

    return float(gammainc(dimensions / 2, radius**2 / 2))


def measure_modes(generative: Joint, modes: Modes, *, n: int = 2500) -> Measure:
    """Measure `mode_coverage` on `n` samples: ``modes``, ``high_quality`` and ``counts_kl`` in nats.

    Args:
      generative: prior and generator of points ``[n, dimensions]``.
      modes: the mixture that the data comes from, as `vifx.data.modes` returns it.
      n: how many samples; too few leave modes empty by chance.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        found = mode_coverage(drawn(key, generative, params, state, n), modes.centres, modes.scale)
        return {"modes": float(found.captured), "high_quality": found.high_quality, "counts_kl": found.counts_kl}

    return measure


def _distances(samples: ArrayLike, centres: ArrayLike, scale: ArrayLike) -> NDArray[Any]:
    """Return distances in units of the modes' scales, ``[n, modes]``."""
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    scale = np.asarray(scale, np.float64)
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1:] != centres.shape[1:] or not samples.size:
        raise ValueError(
            "samples must be [n, dimensions] and centres [modes, dimensions], at least one of each, "
            f"got shapes {samples.shape} and {centres.shape}."
        )
    if scale.shape not in ((), centres.shape[:1]) or not np.all(scale > 0):
        raise ValueError(f"scale must be positive, one number or one for each of {len(centres)} modes, got {scale}.")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).any(axis=1).sum())
        raise ValueError(f"samples must be finite, got {bad} of {len(samples)} that are not; the sampler has diverged.")
    return np.linalg.norm(samples[:, None, :] - centres, axis=-1) / scale
