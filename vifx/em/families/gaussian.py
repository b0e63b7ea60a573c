"""Normal distributions with a free mean and covariance for every state: Gaussian mixtures."""

from __future__ import annotations

__all__ = ["COVARIANCE_SYNONYMS", "Covariance", "gaussian", "numbers_of", "shapes_of"]

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_choice, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.em.families.diagonals import Diagonals
from vifx.em.families.floors import at_floor
from vifx.em.families.held import Held
from vifx.em.families.k_means_plus_plus import nearest_seeds
from vifx.em.families.matrices import Matrices
from vifx.em.families.normal_inverse_wishart import NormalInverseWishart
from vifx.em.families.parent_states import by_state, count
from vifx.em.families.priors import require_prior
from vifx.em.families.quadratic import vectors
from vifx.em.families.seed_statistics import needs_values, seeded
from vifx.em.families.valid_values import Features, finite, if_concrete, numbers
from vifx.em.families.whitening import Whitening, whiten, whitening
from vifx.em.families.with_held import with_held
from vifx.em.family import Family

Covariance: TypeAlias = Literal["full", "tied", "diagonal", "spherical"]
COVARIANCE_SYNONYMS = {
    **dict.fromkeys(("general", "unrestricted", "free", "heteroscedastic", "dense"), "full"),
    **dict.fromkeys(("shared", "common", "pooled", "equal", "homoscedastic"), "tied"),
    **dict.fromkeys(("diag", "independent", "axis-aligned", "naive"), "diagonal"),
    **dict.fromkeys(("isotropic", "scalar", "round", "identity"), "spherical"),
}
"""What else the forms of covariance are called, for messages."""


def gaussian(
    states: int | Sequence[int],
    *,
    covariance: Covariance = "full",
    floor: float = 1e-6,
    prior: NormalInverseWishart | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
) -> Family:
    """``N(x; μ_s, Σ_s)`` for every state s of the parents, x a vector.

    ``log q(x|s) = −½ (x−μ)ᵀ Σ⁻¹ (x−μ) − ½ log|2πΣ|`` is linear in the features ``φ(x) = [x_i x_j (i ≤ j), x, 1]``, so
    that E and M step are a matrix product each. The data are whitened first, by a map that init finds and the
    state keeps, so that squares of data far from zero do not cancel in float32; clusters a thousand times as far
    apart as they are wide need float64. The M step is ``μ = Σ r x / Σ r`` and
    ``Σ = Σ r (x−μ)(x−μ)ᵀ / Σ r``, its eigenvalues below `floor` raised to it: the maximum of the likelihood over
    ``Σ ⪰ floor · I``, so that the objective never falls. Variances below ten epsilons of the dtype, relative to the
    variance of all data in that direction, are rounding, and are raised to that likewise. With a `prior` it is the
    maximum a posteriori, ``μ = (Σ r x + κ m) / (Σ r + κ)`` and
    ``Σ = (Ψ + Σ r (x−μ)(x−μ)ᵀ + κ (μ−m)(μ−m)ᵀ) / (Σ r + ν + d + 2)``. A state that nothing belongs to keeps its
    parameters; with a prior, it has the prior's mode.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      covariance: ``"full"``, ``"tied"`` (one for all states), ``"diagonal"`` or ``"spherical"``.
      floor: the least variance in any direction, in squared units of the data; a component on one point and a feature
        that is constant stay finite. With 0, constant features are refused.
      prior: of means and covariances; None for maximum likelihood.
      fixed: parameters that are known and do not move, by name, such as ``{"mean": m}``; the others are the best ones
        given them.

    Returns:
      A family with parameters ``mean [states, d]`` and ``scale_tril [states, d, d]`` (tied: ``[d, d]``), or
      ``scale [states, d]`` (diagonal) or ``[states]`` (spherical), in the units of the data.

    Raises:
      ValueError: a number is out of range or `covariance` is unknown.
      TypeError: `prior` is not a `NormalInverseWishart`.

    References:
      McLachlan & Peel (2000), Finite Mixture Models; Fraley & Raftery (2007).
    """
    sizes = count("gaussian", states)
    number = math.prod(sizes)
    require_choice(covariance, get_args(Covariance), "gaussian: covariance", synonyms=COVARIANCE_SYNONYMS)
    require_prior(prior, NormalInverseWishart, "gaussian")
    floor = require_number(floor, "gaussian: floor", least=0)
    held = Held("gaussian", fixed, shapes_of(number, covariance))
    form = (
        Matrices(tied=covariance == "tied", floor=floor, prior=prior, held=held)
        if covariance in ("full", "tied")
        else Diagonals(spherical=covariance == "spherical", floor=floor, prior=prior, held=held)
    )
    features = Features(
        lambda state, value: form.features(whiten(state, vectors("gaussian", value).astype(state.shift.dtype))),
        partial(numbers, "gaussian", floor=floor),
    )

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        x = vectors("gaussian", if_concrete(partial(finite, "gaussian"), needs_values("gaussian", value)))
        state = whitening(x, form.whitening)
        responsibilities = nearest_seeds(key, whiten(state, x), number)
        sums = seeded(lambda x, r: form.sums(features(state, x), r), x, responsibilities)
        standard = form.standard(state, number)
        held.check(standard)
        return form.maximize(held.all(standard), state, sums, form.count(sums)), state

    def prepare(params: PyTree, state: Whitening) -> tuple[tuple[Array, ...], Array]:
        natural, log_det = form.natural(params, state)
        return natural, -log_det - 0.5 * params["mean"].shape[1] * math.log(2 * math.pi)

    def maximize(params: PyTree, state: Whitening, statistics: tuple[Array, ...]) -> PyTree:
        return form.maximize(params, state, statistics, form.count(statistics))

    family = Family(
        init=init,
        apply=by_state(sizes, form.normal),
        features=features,
        prepare=prepare,
        log_probs=partial(_log_probs, form),
        statistics=lambda _, features, responsibilities: form.sums(features, responsibilities),
        maximize=maximize,
        log_prior=form.log_prior,
        degrees=form.degrees,
        magnitude=lambda prepared, statistics: form.magnitude(prepared[0], statistics),
        remarks=lambda params, value: at_floor(form.variances(params), floor, np.asarray(value)),
        estimates=form.estimates,
    )
    return with_held(family, held, numbers_of)


def _log_probs(
    form: Matrices | Diagonals, prepared: tuple[tuple[Array, ...], Array], features: tuple[Array, ...]
) -> Array:
    # The constant comes last: next to squares that cancel it would lose its digits.
    squares = form.products(prepared[0], features)
    return squares + jnp.broadcast_to(prepared[1], squares.shape)


def shapes_of(number: int, covariance: Covariance) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of the parameters of a number of states, None for the features."""
    spread: dict[str, tuple[int | None, ...]] = {
        "full": (number, None, None),
        "tied": (None, None),
        "diagonal": (number, None),
        "spherical": (number,),
    }
    return {
        "mean": (number, None),
        "scale_tril" if covariance in ("full", "tied") else "scale": spread[covariance],
    }


def numbers_of(name: str, leaf: Array) -> int:
    """Return how many free numbers a parameter has, of Cholesky factors those of a triangle."""
    size = leaf.shape[-1]
    return leaf.size // size * (size + 1) // 2 if name == "scale_tril" else leaf.size
