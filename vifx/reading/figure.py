"""A picture of a passage, with the probabilities that a reader gives to its tokens."""

from __future__ import annotations

__all__ = ["heat_map"]

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from vifx.evaluation.style import STYLE, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE = 104
"""Characters of a line of text."""


def heat_map(question: str, tokens: Sequence[str], probabilities: ArrayLike, *, title: str = "") -> Figure:
    """Draw the tokens of a passage as text, between two colours.

    The colour above a token is the probability that an answer starts with it, the colour below that one ends with it.

    Args:
      question: the text above the passage.
      tokens: the tokens as they are written.
      probabilities: ``[tokens, 2]``; further rows, such as padding, are left out.
      title: the heading, in place of the question.

    Raises:
      ValueError: if there are more tokens than rows.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    given = np.asarray(probabilities, np.float64)
    if given.ndim != 2 or given.shape[1] != 2 or len(given) < len(tokens):
        raise ValueError(f"probabilities must have shape [{len(tokens)}, 2], got {list(given.shape)}")
    families, known = _fonts("".join((question, title, *tokens)))
    places, line, column = [], 0, 0
    for token in tokens:
        if column and column + _width(token) > _LINE:
            line, column = line + 1, 0
        places.append((line, column))
        column += _width(token) + 1
    height = 0.42 * (line + 1)
    figure = canvas(8.2, height + 0.9)
    axes = figure.add_axes((0.02, 0.12 / (height + 0.9), 0.96, height / (height + 0.9)))
    axes.set_xlim(0, _LINE)
    axes.set_ylim(line + 1, 0)
    axes.set_axis_off()
    maps = [LinearSegmentedColormap.from_list(name, ["white", name]) for name in (STYLE.lines[0], STYLE.lines[1])]
    for (row, left), token, pair in zip(places, tokens, given, strict=False):
        for lane, (probability, shade) in enumerate(zip(pair, maps, strict=True)):
            corner = (left - 0.4, row + 0.06 + 0.72 * lane)
            axes.add_patch(Rectangle(corner, _width(token) + 0.8, 0.16, color=shade(probability)))
        shown = _shown(token, known)
        axes.text(left, row + 0.5, shown, va="center", fontsize=STYLE.label_size, color=STYLE.text, family=families)
    heading = {"fontsize": STYLE.title_size, "color": STYLE.text, "va": "top", "family": ["sans-serif", *families]}
    figure.text(0.02, 1 - 0.12 / (height + 0.9), _shown(title or question, known), **heading)
    key = (title and f"{_shown(question, known)}    ") + "above a word: an answer starts; below: it ends"
    words = {"fontsize": STYLE.label_size, "color": STYLE.muted, "va": "top", "family": ["sans-serif", *families]}
    figure.text(0.02, 1 - 0.45 / (height + 0.9), key, **words)
    return figure


def _width(token: str) -> int:
    """Return how many columns a token takes: wide characters, such as Chinese ones, take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in token)


def _fonts(text: str) -> tuple[list[str], set[int]]:
    """Return font families for a text, and the characters that they have: matplotlib's own, and others if they help."""
    from matplotlib.font_manager import fontManager, get_font

    # A font of last resort has a glyph for every character, but the same one for many.
    named = {entry.name: entry.fname for entry in fontManager.ttflist if "Last Resort" not in entry.name}
    families, known = ["DejaVu Sans Mono"], set(get_font(named["DejaVu Sans Mono"]).get_charmap())
    missing = {ord(character) for character in text} - known
    for name in sorted(named) if missing else ():
        if found := missing & set(get_font(named[name]).get_charmap()):
            families.append(name)
            known |= found
            missing -= found
    return families, known


def _shown(text: str, known: set[int]) -> str:
    """Return a text with a box in the place of every character that no font has."""
    return "".join(character if ord(character) in known else "□" for character in text)
