"""Texts as tokens with their positions."""

from __future__ import annotations

__all__ = ["Tokens", "Unit", "normalized", "tokenize"]

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require, require_choice

Unit: TypeAlias = Literal["words", "characters"]
"""What a token is."""

# Scripts without spaces between words, of which each character is a token: Han, kana, Thai, Lao, Burmese, Khmer.
_UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_LETTER = rf"[^\W\d_{_UNSPACED}]"
# A number keeps its separators: 1,234.5 is one token. A word keeps its apostrophe and its hyphens.
_WORD = re.compile(rf"[{_UNSPACED}]|\d+(?:[.,]\d+)*|{_LETTER}+(?:['’-]{_LETTER}+)*|\S")
_CHARACTER = re.compile(r"\S")


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a text.

    Attributes:
      text: the text itself.
      starts: where each token starts in it, integers ``[tokens]``.
      ends: where each token ends, exclusive.
      names: the tokens as they are looked up, `normalized`.
    """

    text: str
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def span(self, first: int, last: int) -> str:
        """Return the piece of the text from token `first` to token `last`, both included."""
        return self.text[self.starts[first] : self.ends[last]]

    def covering(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first and the last token that characters `start` to `end` (exclusive) touch; None if none."""
        touched = np.flatnonzero((self.ends > start) & (self.starts < end))
        return (int(touched[0]), int(touched[-1])) if touched.size else None


def tokenize(text: str, *, unit: Unit = "words") -> Tokens:
    """Divide a text into tokens; spaces are between tokens and belong to none.

    Words are runs of letters (an apostrophe or a hyphen inside a word belongs to it), numbers with their separators,
    and every other symbol by itself. In scripts without spaces, such as Chinese and Japanese, each character is a word.

    Args:
      text: any text.
      unit: ``"words"``, or ``"characters"`` for one token a character that is not a space.

    Raises:
      TypeError: if `text` is not a string.
      ValueError: if `unit` is another one.

    >>> tokenize("The Nile's length: 6,650 km").names
    ('the', "nile's", 'length', ':', '6,650', 'km')
    >>> tokenize("白云山在广州").names
    ('白', '云', '山', '在', '广', '州')
    """
    require(text, str, "text", "a string", "decode bytes first")
    require_choice(unit, ("words", "characters"), "unit")
    found = list((_WORD if unit == "words" else _CHARACTER).finditer(text))
    return Tokens(
        text,
        np.array([match.start() for match in found], np.int32),
        np.array([match.end() for match in found], np.int32),
        tuple(normalized(match.group()) for match in found),
    )


def normalized(token: str) -> str:
    """Return a token without differences of case and of width: Unicode's NFKC, case-folded.

    >>> normalized("Ｗｅｂ")
    'web'
    """
    return unicodedata.normalize("NFKC", token).casefold().replace("’", "'")
