"""The figure of texts: lines of a fixed width, alone or in groups."""

from __future__ import annotations

__all__ = ["text_lines"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vifx.evaluation.style import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE, _GAP = 0.2, 0.1
"""Inches of a line, and between two groups."""


def text_lines(groups: Sequence[Sequence[str]], *, labels: Sequence[str] = (), title: str = "") -> Figure:
    """Draw texts as lines of one width, in groups with space between them.

    What a character of the font does not show, such as a line end, is drawn as a space.

    Args:
      groups: of lines that belong together, from top to bottom.
      labels: what each line of a group is, drawn in front; none by default.
      title: above, on the left.

    Raises:
      ValueError: there is no line, or a group has not one line for each label.
    """
    if not groups or not all(groups):
        raise ValueError(f"text_lines: groups must each have a line, got {[len(group) for group in groups]}")
    if labels and any(len(group) != len(labels) for group in groups):
        raise ValueError(f"text_lines: groups must have {len(labels)} lines, one a label, got {list(map(len, groups))}")
    from matplotlib.figure import Figure

    height = sum(len(group) * _LINE + _GAP for group in groups) + 0.5
    widest = max(len(line) for group in groups for line in group)
    before = 0.15 + 0.09 * max((len(label) for label in labels), default=0)
    width = before + 0.076 * widest + 0.2
    figure = Figure(figsize=(width, height), dpi=STYLE.dpi, facecolor="white")
    figure.text(0.15 / width, 1 - 0.12 / height, title, fontsize=STYLE.title_size, color=STYLE.text, va="top")
    top = height - 0.5
    for group in groups:
        for index, line in enumerate(group):
            shown = "".join(character if character.isprintable() else " " for character in line).replace("$", r"\$")
            place = {"y": top / height, "va": "top", "fontsize": STYLE.label_size}
            if labels:
                figure.text(0.15 / width, s=labels[index], color=STYLE.muted, **place)
            color = STYLE.text if index == 0 else STYLE.lines[0]
            figure.text(before / width, s=shown, color=color, family="monospace", **place)
            top -= _LINE
        top -= _GAP
    return figure
