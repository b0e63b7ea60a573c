"""The conjugate prior of means and covariances, also in the coordinates of whitened data."""

from __future__ import annotations

__all__ = ["NormalInverseWishart", "WhitePrior", "whitened"]

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_number
from vifx.core.types import Array
from vifx.em.families.whitening import Whitening, whiten


@dataclass(frozen=True, eq=False, kw_only=True)
class NormalInverseWishart:
    """The conjugate prior of a normal distribution: ``Σ ~ IW(Ψ, ν)``, ``μ | Σ ~ N(m, Σ/κ)``.

    Up to a constant its log-density is, in nats and for every state,
    ``−½(ν + d + 2) log|Σ| − ½ tr(ΨΣ⁻¹) − ½ κ (μ−m)ᵀΣ⁻¹(μ−m)``. Of a tied covariance Σ is drawn once. Diagonal
    covariances have an inverse gamma prior for each variance, ``σ² ~ IG(ν/2, ψ/2)``: the same with d = 1; a
    spherical one has a single draw.

    Args:
      mean: m, ``[d]``; that of the data by default.
      scale: Ψ, ``[d, d]``, of diagonal covariances ψ, ``[d]``, of spherical ones a number; by default the covariance
        of the data over ``states^(2/d)``, the volume that falls to a state (of diagonal ones its diagonal, of
        spherical ones the mean variance).
      confidence: κ ≥ 0, how many examples the prior mean counts for.
      degrees: ν; by default that for which the mean of Σ is Ψ: d + 2, and 3 of a variance.

    Raises:
      ValueError: a number is out of range.

    References:
      Fraley & Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering.

    Example:
      >>> from vifx import em
      >>> print(em.mixture("gaussian", 3, prior=em.NormalInverseWishart(confidence=0.1)).generative)
      weights(z) · components(x | z)
    """

    mean: ArrayLike | None = None
    scale: ArrayLike | None = None
    confidence: float = 0.01
    degrees: float | None = None

    def __post_init__(self) -> None:
        require_number(self.confidence, "NormalInverseWishart: confidence", least=0)
        if self.degrees is not None:
            require_number(self.degrees, "NormalInverseWishart: degrees", least=0)
        for name in ("mean", "scale"):
            value = getattr(self, name)
            if value is not None and not np.all(np.isfinite(np.asarray(value))):
                raise ValueError(f"NormalInverseWishart: {name} must be finite, got {value!r}.")


class WhitePrior(NamedTuple):
    """A normal–inverse-Wishart prior in whitened coordinates.

    Attributes:
      confidence: κ.
      degrees: ν.
      mean: m, ``[d]``.
      scale: Ψ, ``[d, d]``, or its diagonal ``[d]``.
    """

    confidence: float
    degrees: float
    mean: Array
    scale: Array


def whitened(prior: NormalInverseWishart, state: Whitening, kind: str, states: int) -> WhitePrior:
    """Return a prior in the coordinates ``x′ = A (x − m)``.

    Args:
      kind: of covariance: ``"full"``, ``"tied"``, ``"diagonal"`` or ``"spherical"``.

    Raises:
      ValueError: a parameter has another shape than the data ask for, or ν is too small for the prior to be proper.
    """
    size, dtype = state.shift.shape[0], state.shift.dtype
    matrix = kind in ("full", "tied")
    degrees = prior.degrees if prior.degrees is not None else float(size + 2 if matrix else 3)
    least = size - 1 if matrix else 0
    if degrees <= least:
        raise ValueError(f"NormalInverseWishart: degrees must be above {least} for data [{size}], got {degrees:g}.")
    zeros = jnp.zeros(size, dtype)
    mean = zeros if prior.mean is None else whiten(state, _shaped("mean", prior.mean, (size,), zeros))
    if prior.scale is None:
        # What the map makes 1 is the covariance of the data.
        unit = jnp.full(size, states ** (-2 / size), dtype)
        return WhitePrior(prior.confidence, degrees, mean, jnp.diag(unit) if matrix else unit)
    shape = (size, size) if matrix else (size,) if kind == "diagonal" else ()
    scale = _shaped("scale", prior.scale, shape, zeros)
    if not matrix:
        return WhitePrior(prior.confidence, degrees, mean, jnp.broadcast_to(scale, (size,)) * state.matrix**2)
    return WhitePrior(prior.confidence, degrees, mean, state.matrix @ scale @ state.matrix.T)


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...], like: Array) -> Array:
    array = jnp.asarray(value).astype(like.dtype)
    if array.shape != shape:
        raise ValueError(
            f"NormalInverseWishart: {name} must have the shape {list(shape)} for data [{like.shape[0]}], got "
            f"{list(array.shape)}."
        )
    return array
