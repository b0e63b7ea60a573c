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
    "diffusion",
    "distributions",
    "divergences",
    "dynamics",
    "em",
    "evaluation",
    "evidence",
    "exact_posterior",
    "explain",
    "factor",
    "flow_matching",
    "flows",
    "focal",
    "games",
    "implicit",
    "importance_weighted",
    "kl",
    "lipschitz",
    "matching",
    "mmd",
    "nets",
    "networks",
    "open",
    "quantization",
    "reconstruction",
    "renyi",
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
        diffusion,
        distributions,
        divergences,
        dynamics,
        em,
        evaluation,
        flows,
        games,
        lipschitz,
        matching,
        networks,
        quantization,
        training,
    )
    from vifx.core import nets
    from vifx.core.explain import explain
    from vifx.core.factor import evidence, factor, implicit, target, transformed
    from vifx.core.joint import Joint
    from vifx.core.objective import Objective
    from vifx.distributions import standard_normal
    from vifx.em.posterior import exact_posterior
    from vifx.experiment.open_run import open
    from vifx.games.adversarial import adversarial
    from vifx.games.mmd import mmd
    from vifx.matching.flow_matching import flow_matching
    from vifx.variational.focal import focal
    from vifx.variational.importance_weighted import importance_weighted
    from vifx.variational.kl import kl, reconstruction
    from vifx.variational.renyi import renyi
    from vifx.verification.verify import verify

make_lazy(__name__)

__version__ = "0.1.0"
"""The version of the package, as in `pyproject.toml`."""
