"""Lines of a derivation from one source: plain text with formulas between dollars, and the same in LaTeX."""

from __future__ import annotations

__all__ = ["latex", "latex_rows", "plain"]

import itertools
import operator
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
    *(("x̂", r"\hat x "), ("ε̂", r"\hat\varepsilon "), ("ε", r"\varepsilon "), ("γ", r"\gamma "), ("∫", r"\int ")),
    *(("→", r"\to "), ("α", r"\alpha "), ("δ", r"\delta "), ("λ", r"\lambda ")),
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


def latex_rows(line: str, *, width: int = 60) -> list[str]:
    r"""Return a line in LaTeX as rows of an ``align*``, broken between words and before operators, which fit a page.

    Args:
      width: how many characters of the line a row has at most, unless a word or a formula's part is longer.

    Example:
      >>> latex_rows("with $a = b$ and so on", width=10)
      ['& \\text{with }a = b \\\\', '& \\quad \\text{and so on} \\\\']
    """
    atoms = [
        (part, bool(i % 2)) for i, piece in enumerate(line.split("$")) for part in _atoms(piece, bool(i % 2), width)
    ]
    rows: list[list[tuple[str, bool]]] = [[]]
    for text, formula in atoms:
        if rows[-1] and sum(len(each) for each, _ in rows[-1]) + len(text) > width:
            rows.append([])
        rows[-1].append((text if rows[-1] else text.lstrip(), formula))
    written = []
    for row in rows:
        kinds = itertools.groupby(row, key=operator.itemgetter(1))
        whole = [("".join(text for text, _ in same), formula) for formula, same in kinds]
        written.append("".join((_formula if formula else _prose)(text) for text, formula in whole).strip())
    return [rf"& {'' if number == 0 else chr(92) + 'quad '}{row} \\" for number, row in enumerate(written)]


def _atoms(piece: str, formula: bool, width: int) -> list[str]:
    """Divide prose into words, and a long formula before its operators."""
    if formula:
        return re.split(r"(?= [+−≥≤] )", piece) if len(piece) > width else [piece]
    return re.findall(r"\s*\S+|\s+", piece)


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
