"""Targets that move with a nearly constant velocity, seen with noise and now and then not at all."""

from __future__ import annotations

__all__ = ["TRACKING", "Tracking", "draw_tracking"]

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tracking(NamedTuple):
    """A linear dynamical system of position and velocity in the plane, ``(x, y, ẋ, ẏ)``, a step of one unit of time.

    The acceleration is white noise of density q along either axis; positions are seen with standard deviation r.

    Attributes:
      transitions: A, ``[4, 4]``.
      noise: Q, ``[4, 4]``.
      loadings: C, ``[2, 4]``.
      scale: r, ``[2]``.
      initial_mean: of the first state, ``[4]``.
      initial_scale: its standard deviations, ``[4]``.
      length: the number of steps of a track.
      gap: from when to when nothing is seen.
      missing: the probability that a step outside the gap is not seen.
    """

    transitions: NDArray[Any]
    noise: NDArray[Any]
    loadings: NDArray[Any]
    scale: NDArray[Any]
    initial_mean: NDArray[Any]
    initial_scale: NDArray[Any]
    length: int
    gap: tuple[int, int]
    missing: float


def _constant_velocity(density: float) -> tuple[NDArray[Any], NDArray[Any]]:
    position, velocity = np.eye(4)[:2], np.eye(4)[2:]
    transitions = np.eye(4) + position.T @ velocity
    third, half, whole = (density * factor * np.eye(2) for factor in (1 / 3, 1 / 2, 1))
    return transitions, np.block([[third, half], [half, whole]])


TRACKING = Tracking(
    *_constant_velocity(0.02),
    np.eye(4)[:2],
    np.array([0.5, 0.5]),
    np.zeros(4),
    np.array([1.0, 1.0, 0.5, 0.5]),
    60,
    (25, 40),
    0.1,
)
"""A track of 60 steps, of which 15 in the middle and a tenth of the others are not seen."""


def draw_tracking(stream: np.random.RandomState, size: int) -> dict[str, NDArray[Any]]:
    """Draw tracks: what is seen, where, and the states behind.

    Returns:
      ``x`` ``[size, 60, 2]``, 0 where nothing is seen; ``mask`` ``[size, 60]``, True where something is; ``states``
      ``[size, 60, 4]``.

    Reference: Bar-Shalom, Li & Kirubarajan (2001), Estimation with Applications to Tracking and Navigation, ch. 6.
    """
    law = TRACKING
    root = np.linalg.cholesky(law.noise)
    state = law.initial_mean + law.initial_scale * stream.standard_normal((size, 4))
    states = [state]
    for _ in range(law.length - 1):
        state = state @ law.transitions.T + stream.standard_normal((size, 4)) @ root.T
        states.append(state)
    path = np.stack(states, axis=1)
    seen = path @ law.loadings.T + law.scale * stream.standard_normal((size, law.length, 2))
    mask = stream.random_sample((size, law.length)) >= law.missing
    mask[:, law.gap[0] : law.gap[1]] = False
    x = np.where(mask[:, :, None], seen, 0)
    return {"x": x.astype(np.float32), "mask": mask, "states": path.astype(np.float32)}
