"""vifx: declare two joint distributions, get pure loss functions.

The vocabulary is a handful of words: a `Joint` is a product of factors (`evidence`, `factor`, `implicit`,
`transformed`, `target`), an estimator (`kl`, `importance_weighted`, `reconstruction`, `adversarial`, …) turns a pair of
joints into an `Objective`, `explain` prints its derivation and `verify` checks it by enumeration.
"""

from __future__ import annotations

__all__ = [
    "Joint",
    "Objective",
    "__version__",
    "adversarial",
    "data",
    "distributions",
    "divergences",
    "estimators",
    "evaluation",
    "evidence",
    "exact_posterior",
    "explain",
    "factor",
    "families",
    "flows",
    "focal",
    "implicit",
    "importance_weighted",
    "kl",
    "lipschitz",
    "methods",
    "mixtures",
    "mmd",
    "nets",
    "networks",
    "reconstruction",
    "standard_normal",
    "target",
    "training",
    "transformed",
    "verify",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx import (
        data,
        distributions,
        divergences,
        estimators,
        evaluation,
        families,
        flows,
        lipschitz,
        methods,
        mixtures,
        nets,
        networks,
        training,
    )
    from vifx.distributions import standard_normal
    from vifx.estimators import (
        adversarial,
        exact_posterior,
        focal,
        importance_weighted,
        kl,
        mmd,
        reconstruction,
        verify,
    )
    from vifx.explain import explain
    from vifx.factor import evidence, factor, implicit, target, transformed
    from vifx.joint import Joint
    from vifx.objective import Objective

make_lazy(__name__)

__version__ = "0.1.0"
"""The version of the package, as in `pyproject.toml`."""
