"""f-divergences as values: a convex function, the bound that a critic estimates, and exact values to compare with.

Each `Divergence` has its generator f, its conjugate and both parametrizations of equation (10), none of which
overflows. `alpha` and `skew_jensen_shannon` are families; `swapped`, `mixture` and `from_generator` make new ones.
"""

from __future__ import annotations

__all__ = [
    "NAMES",
    "Divergence",
    "NearestNormal",
    "alpha",
    "between_categoricals",
    "between_normals",
    "by_quadrature",
    "from_generator",
    "gan",
    "jeffreys",
    "jensen_shannon",
    "kl",
    "mixture",
    "named",
    "nearest_normal",
    "neyman",
    "pearson",
    "perspective",
    "reverse_kl",
    "skew_jensen_shannon",
    "squared_hellinger",
    "swapped",
    "total_variation",
]

from vifx.divergences.alpha import alpha
from vifx.divergences.by_name import named
from vifx.divergences.chi_squared import neyman, pearson
from vifx.divergences.divergence import Divergence
from vifx.divergences.from_generator import from_generator
from vifx.divergences.jensen_shannon import gan, jensen_shannon, skew_jensen_shannon
from vifx.divergences.kullback_leibler import jeffreys, kl, reverse_kl
from vifx.divergences.normals import between_normals
from vifx.divergences.perspective import between_categoricals, perspective
from vifx.divergences.quadrature import NearestNormal, by_quadrature, nearest_normal
from vifx.divergences.squared_hellinger import squared_hellinger
from vifx.divergences.swapped import swapped
from vifx.divergences.total_variation import total_variation
from vifx.divergences.weighted_sum import mixture

NAMES: tuple[str, ...] = tuple(name for name in __all__ if isinstance(globals().get(name), Divergence))
"""The named divergences; there are also ``alpha(α)`` and ``skew_jensen_shannon(w)``."""
