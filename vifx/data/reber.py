"""Strings of the embedded Reber grammar: symbols with a law that is known, of which one must be remembered."""

from __future__ import annotations

__all__ = ["REBER", "Grammar", "draw_reber"]

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Grammar(NamedTuple):
    """A machine that writes strings: from a state one of two symbols, with probability ½ each, leads to the next state.

    Attributes:
      letters: the symbols, by their number.
      symbols: the two symbols that can follow, ``[states, 2]``; where only one can, it stands twice.
      following: the states that they lead to, ``[states, 2]``; the last state is the end.
      recalling: the states whose symbol repeats the one that was chosen first.
      length: the steps of the arrays; of longer strings, the beginning is kept.
    """

    letters: str
    symbols: NDArray[Any]
    following: NDArray[Any]
    recalling: tuple[int, ...]
    length: int

    @property
    def end(self) -> int:
        """The state after the last symbol of a string."""
        return len(self.symbols)

    def states(self, x: ArrayLike) -> NDArray[np.int64]:
        """Return the state before each symbol of strings, and the last one; −1 after a symbol that cannot follow.

        Args:
          x: symbols, integers ``[strings, length]``; what comes after the end is not read.

        Returns:
          ``[strings, length + 1]``.
        """
        strings = np.asarray(x)
        symbols = np.concatenate([self.symbols, np.full((1, 2), -1)])
        following = np.concatenate([self.following, np.full((1, 2), self.end)])
        state = np.zeros(len(strings), np.int64)
        passed = [state]
        for step in range(strings.shape[1]):
            match = symbols[state] == strings[:, step, None]
            entered = np.where(match[:, 0], following[state, 0], np.where(match[:, 1], following[state, 1], -1))
            state = np.where((state < 0) | (state == self.end), state, entered)
            passed.append(state)
        return np.stack(passed, axis=1)

    def step_log_probs(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return ``log P(x_t | x_1 … x_{t−1})`` in nats, ``[strings, length]``; 0 after the end.

        Args:
          x: strings, or their beginnings, integers ``[strings, length]``.
        """
        states = self.states(x)
        before, after = states[:, :-1], states[:, 1:]
        choice = np.append(self.symbols[:, 0] != self.symbols[:, 1], [False, False])  # the end, and what is none
        return np.where((after < 0) | (before < 0), -np.inf, np.where(choice[before], -np.log(2), 0.0))


def _embedded() -> Grammar:
    letters = "BTPSXVE"
    inner = [("BB", 1, 1), ("TP", 2, 3), ("SX", 2, 4), ("TV", 3, 5), ("XS", 3, 6), ("PV", 4, 6), ("EE", 7, 7)]
    size, first = len(inner) + 2, 2
    end = first + 2 * size
    rows = [("BB", 1, 1), ("TP", first, first + size)]
    for chosen, start in zip("TP", (first, first + size), strict=True):
        rows += [(symbols, start + one, start + other) for symbols, one, other in inner]
        rows += [(2 * chosen, start + size - 1, start + size - 1), ("EE", end, end)]
    symbols = np.array([[letters.index(letter) for letter in row[0]] for row in rows])
    following = np.array([row[1:] for row in rows])
    return Grammar(letters, symbols, following, (first + size - 2, first + 2 * size - 2), 32)


REBER = _embedded()
"""Either T or P, then a string of Reber's grammar of any length, then the same letter again; B before and E after."""


def draw_reber(stream: np.random.RandomState, size: int) -> dict[str, NDArray[Any]]:
    """Draw strings of the embedded Reber grammar.

    Returns:
      ``x``, symbols from 0 to 6 ``[size, 32]``, filled with the symbol E after their end, and ``lengths``, how many
      symbols each has, ``[size]``; int32.

    Reference: Hochreiter & Schmidhuber (1997), Long short-term memory, experiment 1.
    """
    state = np.zeros(size, np.int64)
    symbols = np.concatenate([REBER.symbols, np.full((1, 2), REBER.letters.index("E"))])
    following = np.concatenate([REBER.following, np.full((1, 2), REBER.end)])
    x, lengths = [], np.zeros(size, np.int32)
    for _ in range(REBER.length):
        lengths += state != REBER.end
        choice = (stream.random_sample(size) < 0.5).astype(np.int64)
        x.append(symbols[state, choice])
        state = following[state, choice]
    return {"x": np.stack(x, axis=1).astype(np.int32), "lengths": lengths.astype(np.int32)}
