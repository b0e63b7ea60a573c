"""The occasionally dishonest casino: the worked example of hidden Markov models."""

from __future__ import annotations

__all__ = ["CASINO", "Casino", "draw_casino"]

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Casino(NamedTuple):
    """A hidden Markov model of a die that is changed in secret; state 0 is the fair die, 1 the loaded one.

    Attributes:
      initial: the probability of each state at the first roll.
      transitions: rows: from; columns: to.
      faces: the probability of each face for each state, ``[states, 6]``.
      length: the number of rolls in a sequence.
    """

    initial: NDArray[Any]
    transitions: NDArray[Any]
    faces: NDArray[Any]
    length: int


CASINO = Casino(
    np.array([1.0, 0.0]),
    np.array([[0.95, 0.05], [0.1, 0.9]]),
    np.array([[1 / 6] * 6, [0.1] * 5 + [0.5]]),
    300,
)
"""As published: a six has probability ½ on the loaded die; changes have probability 0.05 and, back, 0.1."""


def draw_casino(stream: np.random.RandomState, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw sequences of rolls, and the die that was used for each.

    Returns:
      Faces from 0 to 5 and states, 1 for the loaded die, integers ``[size, 300]`` each.

    Reference: Durbin, Eddy, Krogh & Mitchison (1998), Biological Sequence Analysis, section 3.2.
    """
    state = (stream.random_sample(size) < CASINO.initial[1]).astype(np.int32)
    rolls, states = [], []
    for t in range(CASINO.length):
        if t:
            state = (stream.random_sample(size) < CASINO.transitions[state, 1]).astype(np.int32)
        edges = np.cumsum(CASINO.faces, axis=1)[state, :-1]
        rolls.append(np.sum(stream.random_sample(size)[:, None] >= edges, axis=1))
        states.append(state)
    return np.stack(rolls, axis=1).astype(np.int32), np.stack(states, axis=1)
