"""Tokens as integers."""

from __future__ import annotations

__all__ = ["PADDING", "UNKNOWN", "Vocabulary"]

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require_integer

PADDING = 0
"""The id of what follows the end of a text."""
UNKNOWN = 1
"""The id of a token that the vocabulary does not have."""


class Vocabulary:
    """An integer for every known token; 0 is padding and 1 every other token.

    Args:
      tokens: the known tokens, which get 2, 3, … in their order.

    Attributes:
      tokens: the known tokens.

    Raises:
      ValueError: if a token is there twice.

    >>> vocabulary = Vocabulary(["where", "is"])
    >>> vocabulary.ids(["where", "is", "paris"]).tolist(), len(vocabulary)
    ([2, 3, 1], 4)
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: id_ for id_, token in enumerate(self.tokens, start=2)}
        if len(self._ids) < len(self.tokens):
            twice = [token for token, count in Counter(self.tokens).items() if count > 1]
            raise ValueError(f"tokens of a vocabulary must differ, got {twice[0]!r} more than once; leave one out")

    def __len__(self) -> int:
        return len(self.tokens) + 2

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def ids(self, tokens: Sequence[str]) -> NDArray[np.int32]:
        """Return the ids of `tokens`, 1 for those that are not known."""
        return np.array([self._ids.get(token, UNKNOWN) for token in tokens], np.int32)

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], *, least: int = 1, most: int | None = None) -> Vocabulary:
        """Return the vocabulary of tokenized texts, the token of most texts first; equal counts by their spelling.

        Args:
          texts: tokens, text by text.
          least: how many texts must have a token for it to be known. With 1, training has no unknown tokens, and so the
            model learns nothing about them; 2 or more leaves it some to learn from.
          most: how many tokens to know, those of most texts; all by default.

        Raises:
          TypeError: if a number is not an integer.
          ValueError: if it is less than 1.
        """
        require_integer(least, "least")
        if most is not None:
            require_integer(most, "most")
        counts = Counter(token for text in texts for token in set(text))
        ordered = sorted((token for token, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))
        return cls(ordered[:most])
