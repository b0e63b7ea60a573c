"""Lipschitz constraints: normalization, regularization, projections, gradient penalties, and a certificate."""

from __future__ import annotations

__all__ = [
    "Convolution",
    "Critic",
    "Penalty",
    "SpectralNorm",
    "clipped",
    "dragan",
    "frobenius_regularization",
    "gradient_penalty",
    "lipschitz_bound",
    "normalized_params",
    "penalized",
    "r1",
    "r2",
    "spectral_norm",
    "spectral_normalization",
    "spectral_regularization",
    "spectrally_projected",
]

from vifx.lipschitz.any_loss import penalized
from vifx.lipschitz.bound import lipschitz_bound
from vifx.lipschitz.linear_maps import Convolution
from vifx.lipschitz.norm import SpectralNorm, spectral_norm
from vifx.lipschitz.normalization import normalized_params, spectral_normalization
from vifx.lipschitz.penalty import Critic, Penalty, dragan, gradient_penalty, r1, r2
from vifx.lipschitz.projection import clipped, spectrally_projected
from vifx.lipschitz.regularization import frobenius_regularization, spectral_regularization
