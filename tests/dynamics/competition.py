"""The article's worked case: two species that compete, and its table of seven points."""

from __future__ import annotations

import numpy as np

TIMES = np.array([0.0, 10, 15, 30, 36, 40, 42])
TABLE = np.array([[100, 165, 197, 280, 305, 318, 324], [150, 283, 290, 276, 269, 266, 264]], float).T[None]
PUBLISHED = {"rate": np.array([0.1, 0.3]), "crowding": np.array([0.002, 0.003]), "meeting": np.array([1e-4, 2e-4])}
"""``r``, ``1/N`` and ``a``."""


def competition(x, t, params):
    """``ẋ_i = r_i x_i (1 − x_i/N_i) − a_i x_1 x_2``."""
    return params["rate"] * x * (1 - params["crowding"] * x) - params["meeting"] * x * x[:, ::-1]
