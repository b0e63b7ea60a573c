"""Lines of a derivation from one source: plain text with formulas between dollars, and the same in LaTeX."""

from __future__ import annotations

__all__ = ["latex", "plain"]

import re

_WORDS = {
    "E": r"\mathbb{E}",
    "L": r"\mathcal{L}",
    "det": r"\det ",
    "log": r"\log ",
    "max": r"\max",
    "sup": r"\sup",
}
_SYMBOLS = (
    *((" | ", r" \mid "), (" ‖ ", r" \,\|\, "), ("‖", r"\|")),
    *(("−", "-"), ("·", r"\cdot "), ("½", r"\tfrac12 "), ("²", "^2"), ("′", "'")),
    *(("≥", r"\ge "), ("≤", r"\le "), ("≈", r"\approx "), ("∝", r"\propto "), ("Σ", r"\sum"), ("∂", r"\partial ")),
    *(("p̃", r"\tilde p"), ("°", r"^\circ"), ("∞", r"\infty "), ("ℓ", r"\ell "), ("σ", r"\sigma "), ("π", r"\pi ")),
    *(("α", r"\alpha "), ("δ", r"\delta "), ("λ", r"\lambda ")),
)


def plain(line: str) -> str:
    """Return a line as plain text: without the dollars."""
    return line.replace("$", "")


def latex(line: str) -> str:
    r"""Return a line in LaTeX: prose as ``\text``, names of several letters upright, the rest as mathematics.

    Example:
      >>> print(latex("with $E[−log decoder(x | z)] ≥ 0$"))
      \text{with }\mathbb{E}[-\log \mathrm{decoder}(x \mid z)] \ge 0
    """
    pieces = line.split("$")
    return "".join(_formula(piece) if index % 2 else _prose(piece) for index, piece in enumerate(pieces))


def _prose(text: str) -> str:
    escaped = text.replace("_", r"\_").replace("–", "--")
    return rf"\text{{{escaped}}}" if text else ""


def _formula(text: str) -> str:
    text = re.sub(r"(?<=\w)\*", "^*", text)
    text = re.sub(r"\^\(([^()]*)\)|\^(−?[\w.]+)", lambda found: f"^{{{found[1] or found[2]}}}", text)
    text = re.sub(r"[A-Za-z][A-Za-z0-9_]*", lambda found: _name(found[0]), text)
    text = re.sub(r"√(\w+)", r"\\sqrt{\1}", text)
    for symbol, command in _SYMBOLS:
        text = text.replace(symbol, command)
    return re.sub(r" +(?=[ })\]])", "", text).replace(r"\mathbb{E} \mathrm{KL}", r"\mathbb{E}\,\mathrm{KL}")


def _name(name: str) -> str:
    letter, _, index = name.partition("_")
    if letter in _WORDS or len(letter) == 1:  # what stands under it, as in z_k, is its index
        return _WORDS.get(letter, letter) + (f"_{{{index}}}" if len(index) > 1 else f"_{index}" if index else "")
    escaped = name.replace("_", r"\_")
    return rf"\mathrm{{{escaped}}}"
