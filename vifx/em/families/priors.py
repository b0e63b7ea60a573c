"""Conjugate priors: what makes the M step a maximum a posteriori."""

from __future__ import annotations

__all__ = [
    "Beta",
    "Dirichlet",
    "Gamma",
    "InverseGamma",
    "InverseWishart",
    "floor_of_shares",
    "log_dirichlet",
    "require_dirichlet",
    "require_prior",
    "with_prior",
]

from dataclasses import dataclass
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import described, require_number
from vifx.core.types import Array


def floor_of_shares(name: str, floor: float, values: int) -> float:
    """Return a checked least probability.

    Raises:
      ValueError: it is negative, or so large that nothing is free.
    """
    least = require_number(floor, f"{name}: floor", least=0)
    if values > 1 and not least < 1 / values:
        raise ValueError(f"{name}: floor must be below 1/{values} for {values} values, got {floor!r}.")
    return least


@dataclass(frozen=True, eq=False)
class Dirichlet:
    """The conjugate prior of probabilities: ``log p(π) = Σ_v (α_v − 1) log π_v`` up to a constant, in nats.

    The M step is then ``π_v ∝ n_v + α_v − 1`` with the expected counts n: the mode of the posterior, a point of the
    simplex since α is at least 1. Of several rows each has this prior.

    Args:
      concentration: α ≥ 1, one number for all values or one for each, ``[values]``; 1 is maximum likelihood.

    Raises:
      ValueError: a number is below 1 or not finite.

    References:
      Bishop (2006), Pattern Recognition and Machine Learning, section 2.2.1.

    Example:
      >>> from vifx import em
      >>> print(em.mixture("poisson", 3, weights_prior=em.Dirichlet(2.0)).generative)
      weights(z) · components(x | z)
    """

    concentration: ArrayLike = 1.0

    def __post_init__(self) -> None:
        _require_numbers(self.concentration, "Dirichlet: concentration", least=1, axes=1)

    def pseudo_counts(self, values: int, name: str) -> np.ndarray:
        """Return ``α − 1``, ``[values]``.

        Args:
          values: how many there are.
          name: of the family, for messages.

        Raises:
          ValueError: there is another number of concentrations.
        """
        each = np.asarray(self.concentration, np.float64)
        if each.ndim and each.shape != (values,):
            raise ValueError(
                f"{name}: the prior must have one concentration, or one for each of the {values} values, got "
                f"{len(each)}."
            )
        return np.broadcast_to(each - 1, (values,))


@dataclass(frozen=True, eq=False)
class Beta:
    """The conjugate prior of the probability of a one: ``(a − 1) log π + (b − 1) log(1 − π)`` up to a constant, nats.

    The M step is then ``π = (Σ r x + a − 1) / (Σ r + a + b − 2)``, the mode of the posterior.

    Args:
      ones: a ≥ 1; ``Beta(1, 1)`` is maximum likelihood.
      zeros: b ≥ 1.

    Raises:
      ValueError: a number is below 1 or not finite.

    Example:
      >>> from vifx import em
      >>> print(em.mixture("bernoulli", 3, prior=em.Beta(2, 2)).generative)
      weights(z) · components(x | z)
    """

    ones: float = 1.0
    zeros: float = 1.0

    def __post_init__(self) -> None:
        for name in ("ones", "zeros"):
            require_number(getattr(self, name), f"Beta: {name}", least=1)


@dataclass(frozen=True, eq=False)
class Gamma:
    """The conjugate prior of the rate of counts: ``(a − 1) log λ − b λ``, up to a constant in nats.

    The M step is then ``λ = (Σ r x + a − 1) / (Σ r + b)``, the mode of the posterior.

    Args:
      shape: a ≥ 1.
      rate: b ≥ 0; ``Gamma(1, 0)``, which is improper, is maximum likelihood.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> from vifx import em
      >>> print(em.mixture("poisson", 3, prior=em.Gamma(2, 0.5)).generative)
      weights(z) · components(x | z)
    """

    shape: float = 1.0
    rate: float = 0.0

    def __post_init__(self) -> None:
        require_number(self.shape, "Gamma: shape", least=1)
        require_number(self.rate, "Gamma: rate", least=0)


@dataclass(frozen=True, eq=False)
class InverseGamma:
    """The conjugate prior of a variance: ``−(a + 1) log σ² − b/σ²``, up to a constant in nats.

    The mode is ``b / (a + 1)``, and that of the posterior of n residuals e is ``(b + ½ Σ e²) / (a + 1 + ½ n)``.

    Args:
      shape: a > 0.
      scale: b > 0, in squared units of the data.

    Raises:
      ValueError: a number is out of range.

    References:
      Murphy (2012), Machine Learning: A Probabilistic Perspective, section 4.6.2.

    Example:
      >>> from vifx import em
      >>> print(em.mixture("ppca", 3, latent=2, prior=em.InverseGamma(3, 0.5)).generative)
      weights(z) · components(x | z)
    """

    shape: float
    scale: float

    def __post_init__(self) -> None:
        for name in ("shape", "scale"):
            require_number(getattr(self, name), f"InverseGamma: {name}", above=0)


@dataclass(frozen=True, eq=False)
class InverseWishart:
    """The conjugate prior of a covariance: ``−½ (ν + d + 1) log|Σ| − ½ tr(Ψ Σ⁻¹)``, up to a constant in nats.

    The mode is ``Ψ / (ν + d + 1)``, and that of the posterior of n residuals e ``(Ψ + Σ e eᵀ) / (n + ν + d + 1)``.

    Args:
      scale: Ψ, symmetric and positive definite, ``[d, d]``, in squared units of the data.
      degrees: ν > d − 1.

    Raises:
      ValueError: a number is out of range.

    References:
      Murphy (2012), Machine Learning: A Probabilistic Perspective, section 4.5.1.

    Example:
      >>> from vifx import em
      >>> print(em.hmm("autoregressive", 3, length=50, prior=em.InverseWishart([[1, 0], [0, 1]], 4)).generative)
      chain(z) · emissions(x | z)
    """

    scale: ArrayLike
    degrees: float

    def __post_init__(self) -> None:
        array = np.asarray(self.scale)
        square = array.ndim == 2 and array.shape[0] == array.shape[1] and np.all(np.isfinite(array))
        if not square or not np.allclose(array, array.T) or np.linalg.eigvalsh(array).min() <= 0:
            raise ValueError(
                f"InverseWishart: scale must be a symmetric positive definite matrix [d, d], got {self.scale!r}."
            )
        require_number(self.degrees, "InverseWishart: degrees", above=len(array) - 1)


Prior = TypeVar("Prior")


def require_prior(prior: Prior | None, kind: type[Prior], name: str) -> Prior | None:
    """Return a prior of a kind, or None.

    Raises:
      TypeError: it is another thing.
    """
    if prior is not None and not isinstance(prior, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name}: prior must be {article} {kind.__name__} or None, got {described(prior)}.")
    return prior


def require_dirichlet(prior: Dirichlet | None, values: int, name: str) -> Dirichlet | None:
    """Return a prior of a number of probabilities, or None.

    Raises:
      TypeError: it is another thing.
      ValueError: it is one of another number of values.
    """
    if require_prior(prior, Dirichlet, name) is not None and prior is not None:
        prior.pseudo_counts(values, name)
    return prior


def with_prior(prior: Dirichlet | None, counts: Array, name: str) -> Array:
    """Return counts ``[..., values]`` with those that a prior adds."""
    if prior is None:
        return counts
    added = jnp.asarray(prior.pseudo_counts(counts.shape[-1], name), counts.dtype)
    return counts + jnp.broadcast_to(added, counts.shape)


def log_dirichlet(prior: Dirichlet | None, log_probs: Array, name: str) -> Array:
    """Return the log-density of rows of probabilities in nats, up to a constant: counts of 0 say nothing of a zero.

    Args:
      log_probs: ``[..., values]``.
    """
    if prior is None:
        return jnp.zeros((), log_probs.dtype)
    added = jnp.asarray(prior.pseudo_counts(log_probs.shape[-1], name), log_probs.dtype)
    each = jnp.broadcast_to(added, log_probs.shape)
    return jnp.sum(jnp.where(each > 0, each * jnp.where(each > 0, log_probs, 0), 0))


def _require_numbers(values: ArrayLike, name: str, *, least: float, axes: int) -> None:
    array = np.asarray(values)
    if array.dtype == object or np.issubdtype(array.dtype, np.str_) or array.ndim > axes:
        raise TypeError(f"{name} must be a number, or as many as there are values, got {described(values)}.")
    for each in array.reshape(-1):
        require_number(float(each), name, least=least)
