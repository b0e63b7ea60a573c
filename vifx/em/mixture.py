"""Finite mixtures of any family."""

from __future__ import annotations

__all__ = ["mixture"]

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_array, require_integer
from vifx.core.factor import factor
from vifx.core.joint import Joint
from vifx.core.objective import Schedule
from vifx.em import categorical, check_values
from vifx.em.families.family_names import Maker, family_maker
from vifx.em.families.priors import Dirichlet
from vifx.em.model import Model


def mixture(
    make: Maker,
    components: int,
    *,
    weights: ArrayLike | None = None,
    weights_prior: Dirichlet | None = None,
    temperature: float | Schedule = 1.0,
    **options: Any,
) -> Model:
    """A mixture ``q(x) = Σ_z π_z q(x|z)`` of a family, with its exact posterior: the assembly of EM, equation (1).

    Args:
      make: a family by its name, such as ``"gaussian"``, or its constructor, called with ``states=components``.
      components: how many.
      weights: probabilities ``[components]`` that are known and do not move; by default they are fitted.
      weights_prior: of the weights π; None for maximum likelihood.
      temperature: of the posterior: above 1 annealed EM, 0 hard EM (of equal spherical components, k-means).
      **options: further options of the family, such as ``covariance="full"``, ``prior=`` or ``fixed=``.

    Raises:
      TypeError: `make` is not a constructor of a family, or an option is unknown or missing.
      ValueError: the name is unknown, `components` is below 1, or an option is out of range.

    Example:
      >>> print(mixture("gaussian", 3, covariance="tied").generative)
      weights(z) · components(x | z)
    """
    own = family_maker(make, options, "mixture")
    require_integer(components, "mixture: components")
    family = own(states=components, **options)
    if family.sequences:
        raise ValueError("mixture: this family is one of sequences, whose steps follow a chain of states; use em.hmm.")
    generative = Joint(
        factor("z", categorical(components, prior=weights_prior, fixed=_known(weights, components)), name="weights"),
        factor("x | z", family, name="components"),
    )

    def check(x: np.ndarray) -> None:
        if len(x) < components:
            raise ValueError(
                f"a mixture of {components} components needs at least as many examples, got {len(x)}; use fewer."
            )
        check_values(family, x)

    return Model.of(generative, components, check=check, temperature=temperature)


def _known(weights: ArrayLike | None, components: int) -> dict[str, np.ndarray] | None:
    """Return the logits of weights that are known; a weight of zero has −10³⁰."""
    if weights is None:
        return None
    array = np.asarray(require_array(weights, "mixture: weights"), np.float64)
    if array.shape != (components,) or not np.all(array >= 0) or abs(array.sum() - 1) > 1e-5:
        raise ValueError(
            f"mixture: weights must be {components} probabilities that sum to 1, got {np.array2string(array)}."
        )
    return {"logits": np.where(array > 0, np.log(np.where(array > 0, array, 1)), -1e30)[None]}
