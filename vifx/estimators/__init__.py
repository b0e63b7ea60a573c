"""Estimators: how a divergence between two joints becomes a number with a gradient."""

from __future__ import annotations

__all__ = [
    "Penalty",
    "Verification",
    "adversarial",
    "exact",
    "exact_posterior",
    "focal",
    "importance_weighted",
    "kl",
    "mmd",
    "reconstruction",
    "verify",
]

from vifx.estimators import exact
from vifx.estimators.adversarial import adversarial
from vifx.estimators.adversarial_losses import Penalty
from vifx.estimators.explicit import kl, reconstruction
from vifx.estimators.focal import focal
from vifx.estimators.importance import importance_weighted
from vifx.estimators.mmd import mmd
from vifx.estimators.posterior import exact_posterior
from vifx.estimators.verify import Verification, verify
