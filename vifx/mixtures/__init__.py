"""Mixtures: models whose latent is summed out exactly, fitted by EM."""

from __future__ import annotations

__all__ = [
    "Candidate",
    "FellError",
    "Fit",
    "Model",
    "Selection",
    "Start",
    "fit",
    "hmm",
    "k_means",
    "mixture",
    "most_likely_path",
    "select",
    "starts",
]

from vifx.mixtures.fit import FellError, Fit, fit
from vifx.mixtures.hmm import hmm, most_likely_path
from vifx.mixtures.k_means import k_means
from vifx.mixtures.mixture import mixture
from vifx.mixtures.model import Model
from vifx.mixtures.selection import Candidate, Selection, select
from vifx.mixtures.start import Start, starts
