"""Finite mixtures of any family."""

from __future__ import annotations

__all__ = ["mixture"]

from collections.abc import Callable
from typing import Any

import numpy as np

from vifx.checks import require_function, require_integer
from vifx.core.factor import factor
from vifx.core.joint import Joint
from vifx.core.objective import Schedule
from vifx.em import categorical, check_values
from vifx.em.family import Family
from vifx.em.model import Model


def mixture(
    make: Callable[..., Family],
    components: int,
    *,
    weights_concentration: float = 1.0,
    temperature: float | Schedule = 1.0,
    **options: Any,
) -> Model:
    """A mixture ``q(x) = Σ_z π_z q(x|z)`` of a family, with its exact posterior: the assembly of EM, equation (1).

    Args:
      make: the constructor of a family, such as `em.gaussian`; called with ``states=components``.
      components: how many.
      weights_concentration: of the Dirichlet prior of the weights π; 1 is maximum likelihood.
      temperature: of the posterior: above 1 annealed EM, 0 hard EM (of equal spherical components, k-means).
      **options: further options of the family, such as ``covariance="full"``.

    Raises:
      TypeError: `make` is not a constructor of a family.
      ValueError: `components` is below 1, or an option is out of range.

    Example:
      >>> from vifx import em
      >>> print(mixture(em.gaussian, 3, covariance="tied").generative)
      weights(z) · components(x | z)
    """
    require_function(make, "mixture: make", "that makes a family, such as em.gaussian")
    require_integer(components, "mixture: components")
    family = make(states=components, **options)
    generative = Joint(
        factor("z", categorical(components, concentration=weights_concentration), name="weights"),
        factor("x | z", family, name="components"),
    )

    def check(x: np.ndarray) -> None:
        if len(x) < components:
            raise ValueError(
                f"a mixture of {components} components needs at least as many examples, got {len(x)}; use fewer."
            )
        check_values(family, x)

    return Model.of(generative, components, check=check, temperature=temperature)
