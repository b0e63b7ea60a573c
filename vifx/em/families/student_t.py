"""Student-t distributions with a free location, scale and degrees of freedom for every state: robust mixtures."""

from __future__ import annotations

__all__ = ["student_t"]

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jax.typing import ArrayLike

from vifx.checks import require_choice, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import MultivariateStudentT
from vifx.em.families.diagonals import Diagonals
from vifx.em.families.floors import at_floor
from vifx.em.families.gaussian import COVARIANCE_SYNONYMS, numbers_of, shapes_of
from vifx.em.families.held import Held
from vifx.em.families.k_means_plus_plus import nearest_seeds
from vifx.em.families.matrices import Matrices
from vifx.em.families.normal_inverse_wishart import NormalInverseWishart
from vifx.em.families.parent_states import by_state, count
from vifx.em.families.priors import require_prior
from vifx.em.families.quadratic import vectors
from vifx.em.families.seed_statistics import needs_values, seeded
from vifx.em.families.valid_values import Features, finite, if_concrete, numbers
from vifx.em.families.whitening import Whitening, robust_whitening, whiten
from vifx.em.families.with_held import with_held
from vifx.em.family import Family

LEAST_DF, MOST_DF, START_DF = 0.1, 1000.0, 10.0


class _Prepared(NamedTuple):
    """Natural parameters of ``−½ δ``, the logarithm of the density at δ = 0, ν ``[states]``, and d."""

    natural: tuple[Array, ...]
    constant: Array
    df: Array
    size: Array


def student_t(
    states: int | Sequence[int],
    *,
    covariance: Literal["full", "diagonal"] = "full",
    df: float | Literal["each", "shared"] = "each",
    floor: float = 1e-6,
    prior: NormalInverseWishart | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
) -> Family:
    """``t_ν(x; μ_s, Σ_s)`` for every state s of the parents, x a vector: a normal with a drawn precision.

    ``x ~ N(μ, Σ/u)``, ``u ~ Gamma(ν/2, rate ν/2)``. The E step has the expected precisions
    ``u = (ν+d)/(ν+δ)``, with ``δ = (x−μ)ᵀ Σ⁻¹ (x−μ)``, so that outliers count for little. The M step is
    ``μ = Σ r u x / Σ r u``, ``Σ = Σ r u (x−μ)(x−μ)ᵀ / Σ r``, and ν the root of
    ``log(ν/2) − ψ(ν/2) + 1 + Σ r (E log u − u) / Σ r``, kept between 0.1 and 1000: all three at once maximize the
    expected joint log-density of x and u, so that the objective never falls. With a `prior` of μ and Σ it is the
    maximum a posteriori, ``μ = (Σ r u x + κ m) / (Σ r u + κ)`` and
    ``Σ = (Ψ + Σ r u (x−μ)(x−μ)ᵀ + κ (μ−m)(μ−m)ᵀ) / (Σ r + n + d + 2)``, n the prior's degrees. A state that nothing
    belongs to keeps its parameters; with a prior, it has the prior's mode.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      covariance: ``"full"`` or ``"diagonal"``, of Σ; u is shared by all features either way.
      df: the degrees of freedom ν: fixed, or estimated for ``"each"`` state or ``"shared"`` by all.
      floor: the least eigenvalue of Σ, in squared units of the data.
      prior: of μ and Σ; None for maximum likelihood.
      fixed: μ or Σ, if they are known and do not move, by name, such as ``{"mean": m}``; a known ν is `df`.

    Returns:
      A family with parameters ``mean [states, d]``, ``scale_tril [states, d, d]`` or, diagonal, ``scale [states, d]``,
      and, if estimated, ``df``, ``[states]`` or a scalar.

    Raises:
      ValueError: a number is out of range, or `covariance` or `df` is unknown.
      TypeError: `prior` is not a `NormalInverseWishart`.

    References:
      Peel & McLachlan (2000), Robust mixture modelling using the t distribution.
    """
    sizes = count("student_t", states)
    require_choice(covariance, ("full", "diagonal"), "student_t: covariance", synonyms=COVARIANCE_SYNONYMS)
    if isinstance(df, str) and df not in ("each", "shared"):
        raise ValueError(f"student_t: df must be a number above 0, 'each' or 'shared', got {df!r}.")
    if not isinstance(df, str):
        df = require_number(df, "student_t: df", least=1e-3)
    floor = require_number(floor, "student_t: floor", least=0)
    require_prior(prior, NormalInverseWishart, "student_t")
    held = Held("student_t", fixed, shapes_of(math.prod(sizes), covariance))
    form = (
        Matrices(tied=False, floor=floor, prior=prior, held=held)
        if covariance == "full"
        else Diagonals(spherical=False, floor=floor, prior=prior, held=held)
    )
    turn = _Turn(form, df, math.prod(sizes), held)

    def distribution(params: PyTree, at: Array | int) -> MultivariateStudentT:
        return MultivariateStudentT(turn.each_df(params)[at], params["mean"][at], form.scale_tril(params, at))

    family = Family(
        init=turn.init,
        apply=by_state(sizes, distribution),
        features=Features(turn.features, partial(numbers, "student_t", floor=floor)),
        prepare=turn.prepare,
        log_probs=turn.log_probs,
        statistics=turn.statistics,
        maximize=turn.maximize,
        log_prior=form.log_prior,
        degrees=turn.degrees,
        magnitude=lambda prepared, statistics: form.magnitude(prepared.natural, statistics[0]),
        remarks=lambda params, value: at_floor(form.variances(params), floor, np.asarray(value)),
        estimates=turn.estimates,
    )
    return with_held(family, held, numbers_of)


class _Turn:
    """The E and the M step of Student-t distributions."""

    def __init__(self, form: Matrices | Diagonals, df: float | str, number: int, held: Held) -> None:
        self.form, self.df, self.number, self.held = form, df, number, held

    def init(self, key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        form, number = self.form, self.number
        x = vectors("student_t", if_concrete(partial(finite, "student_t"), needs_values("student_t", value)))
        state = robust_whitening(x, form.whitening)
        # Far outliers are not seeds.
        responsibilities = nearest_seeds(key, jnp.arcsinh(whiten(state, x)), number)
        sums = seeded(lambda x, r: form.sums(self.features(state, x), r), x, responsibilities)
        standard = form.standard(state, number)
        self.held.check(standard)
        params = form.maximize(self.held.all(standard), state, sums, form.count(sums))
        if isinstance(self.df, str):
            params["df"] = jnp.full((number,) if self.df == "each" else (), START_DF, x.dtype)
        return params, state

    def features(self, state: Whitening, value: Array) -> tuple[Array, ...]:
        return self.form.features(whiten(state, vectors("student_t", value).astype(state.shift.dtype)))

    def each_df(self, params: PyTree) -> Array:
        """Return ν of each state."""
        given = params["df"] if isinstance(self.df, str) else jnp.asarray(self.df, params["mean"].dtype)
        return jnp.broadcast_to(given, (self.number,))

    def prepare(self, params: PyTree, state: Whitening) -> _Prepared:
        natural, log_det = self.form.natural(params, state)
        size, nu = params["mean"].shape[1], self.each_df(params)
        constant = gammaln(0.5 * (nu + size)) - gammaln(0.5 * nu) - 0.5 * size * (jnp.log(nu) + math.log(math.pi))
        return _Prepared(natural, constant - log_det, nu, jnp.asarray(size, nu.dtype))

    def distances(self, prepared: _Prepared, features: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return δ and ν, ``[examples, states]``."""
        distance = jnp.maximum(-2 * self.form.products(prepared.natural, features), 0)
        return distance, jnp.broadcast_to(prepared.df, distance.shape)

    def log_probs(self, prepared: _Prepared, features: tuple[Array, ...]) -> Array:
        distance, nu = self.distances(prepared, features)
        constant = jnp.broadcast_to(prepared.constant, distance.shape)
        return constant - 0.5 * (nu + prepared.size) * jnp.log1p(distance / nu)

    def statistics(self, prepared: _Prepared, features: tuple[Array, ...], responsibilities: Array) -> PyTree:
        """Return ``Σ r u φ``, ``Σ r`` and ``Σ r (E log u − u)``."""
        distance, nu = self.distances(prepared, features)
        precision = (nu + prepared.size) / (nu + distance)
        half = 0.5 * (prepared.df + prepared.size)
        logs = jnp.log(precision) + jnp.broadcast_to(digamma(half) - jnp.log(half), precision.shape)
        weighted = self.form.sums(features, responsibilities * precision)
        return weighted, jnp.sum(responsibilities, axis=0), jnp.sum(responsibilities * (logs - precision), axis=0)

    def maximize(self, params: PyTree, state: Whitening, statistics: PyTree) -> PyTree:
        weighted, counts, logs = statistics
        found = self.form.maximize(params, state, weighted, counts)
        if self.df == "each":
            found["df"] = _best_df(counts, logs, params["df"])
        elif self.df == "shared":
            found["df"] = _best_df(jnp.sum(counts), jnp.sum(logs), params["df"])
        return found

    def estimates(self, params: PyTree) -> dict[str, np.ndarray]:
        """Return the locations μ and the shapes Σ, which are not covariances, or its diagonal, and ν of each state."""
        found = self.form.estimates(params)
        spread = "shapes" if "covariances" in found else "squared_scales"
        df = np.asarray(params["df"] if isinstance(self.df, str) else self.df, np.float64)
        return {
            "locations": found["means"],
            spread: found["covariances" if spread == "shapes" else "variances"],
            "df": np.broadcast_to(df, (self.number,)),
        }

    def degrees(self, params: PyTree) -> int:
        return self.form.degrees(params) + (math.prod(params["df"].shape) if isinstance(self.df, str) else 0)


def _best_df(counts: Array, logs: Array, otherwise: Array) -> Array:
    """Return the root ν of ``log(ν/2) − ψ(ν/2) + 1 + logs/counts``, which falls in ν, by bisection of log ν."""
    seen = counts > 10 * jnp.finfo(counts.dtype).eps
    mean = logs / jnp.where(seen, counts, 1)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        half = 0.5 * jnp.exp(middle)
        above = jnp.log(half) - digamma(half) + 1 + mean > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    ends = (jnp.full_like(mean, math.log(LEAST_DF)), jnp.full_like(mean, math.log(MOST_DF)))
    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    # A root beyond an end is that end.
    found = jnp.exp(0.5 * (low + high))
    return jnp.where(seen, found, otherwise)
