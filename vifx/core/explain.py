"""The derivation of an objective, printed: what is minimized, how it is estimated, who moves what."""

from __future__ import annotations

__all__ = ["explain"]

import unicodedata
from typing import Literal

from vifx.checks import require_choice
from vifx.core.latex import latex, latex_rows, plain
from vifx.core.objective import Objective, Part, Player, weight_in_words
from vifx.core.symbols import definitions
from vifx.core.types import Batch


def explain(objective: Objective, batch: Batch | None = None, *, style: Literal["text", "latex"] = "text") -> str:
    """Return how an objective follows from its two joints.

    It names both joints, the lines of the derivation, every term with its weight and its estimator (closed
    form, summed or drawn), the dropped constants, the players and what they own, the symbols, and the units.

    Args:
      objective: any objective; sums are explained part by part.
      batch: arrays, or anything with a shape and dtype, by batch entry. Whether a pair of families has a
        closed form depends on the networks' outputs, which a batch makes known; nothing is computed.
      style: plain text, or LaTeX that the packages ``amsmath`` and ``amssymb`` compile (an ``align*`` for each part,
        and one for the symbols).

    Raises:
      ValueError: an unknown style.

    Example:
      >>> import vifx
      >>> inference = vifx.Joint(vifx.evidence("x"))
      >>> generative = vifx.Joint(vifx.factor("x", vifx.standard_normal(2)))
      >>> print(vifx.explain(vifx.kl(inference, generative)).splitlines()[0])
      KL(inference ‖ generative)
    """
    require_choice(style, ("text", "latex"), "explain: style")
    symbols = definitions(line for part in objective.parts for line in _lines(part, batch))
    if style == "latex":
        rows = [rf"& {latex(symbol)} && {latex(meaning)} \\" for symbol, meaning in symbols]
        return "\n".join([*(_latex(part, batch) for part in objective.parts), *(_aligned(rows) if rows else ())])
    blocks = [_text(part, batch) for part in objective.parts]
    players = ["players"]
    players += [f"  {name} moves {', '.join(p.owns) or 'nothing'}{_phase(p)}" for name, p in objective.players.items()]
    named = [(plain(symbol), plain(meaning)) for symbol, meaning in symbols]
    width = max((_width(symbol) for symbol, _ in named), default=0)
    legend = ["symbols", *(f"  {symbol}{' ' * (width - _width(symbol))}  {meaning}" for symbol, meaning in named)]
    units = "units\n  nats where there is a logarithm; mean over the examples of the batch; metrics are unweighted"
    return "\n\n".join([*blocks, "\n".join(players), *(["\n".join(legend)] if named else []), units]) + "\n"


def _width(text: str) -> int:
    """Count the columns of a text: a tilde stands on its letter."""
    return sum(not unicodedata.combining(letter) for letter in text)


def _lines(part: Part, batch: Batch | None) -> list[str]:
    """Return what the symbols of a part are looked for in."""
    joints = [f"${joint}$" for joint in part.joints]
    return [part.title, *joints, *part.derivation, *(term.formula for term in part.terms(batch))]


def _phase(player: Player) -> str:
    """Say which networks have a closed form, what a turn is measured against, and how many updates it needs."""
    closed = f"; in closed form: {', '.join(player.solver.networks)}" if player.solver is not None else ""
    if not player.anchors:
        return closed
    least = f", {player.least_updates} updates a turn at least" if player.least_updates > 1 else ""
    return f"{closed}; a turn is a phase, anchored at its start{least}"


def _text(part: Part, batch: Batch | None) -> str:
    title = f"{weight_in_words(part.weight)}{plain(part.title)}"
    named = zip(("inference   ", "generative  "), part.joints, strict=False)
    lines = [title, *(f"  {role}{joint}" for role, joint in named)]
    if part.derivation:
        lines += ["", "  derivation"]
        lines += [f"    {number}. {plain(line)}" for number, line in enumerate(part.derivation, 1)]
    terms = part.terms(batch)
    lines += ["", "  terms"] if terms else []
    width = max((len(term.name) for term in terms), default=0)
    for term in terms:
        lines.append(f"    {term.name:<{width}}  {plain(term.formula)}")
        weight = "" if term.weight == "1" else f"; weight {term.weight}"
        lines.append(f"    {'':<{width}}  by {term.estimator}{weight}")
    dropped = "; ".join([" ".join(map(str, part.weighted)), *part.further]).strip("; ") or "nothing"
    return "\n".join([*lines, "", f"  dropped     {dropped}"])


def _latex(part: Part, batch: Batch | None) -> str:
    rows = [row for line in part.derivation for row in latex_rows(line)]
    for term in part.terms(batch):
        words = f"{term.name}: {term.estimator}, weight {term.weight}"
        rows += [*latex_rows(term.formula), *(row.replace("& ", r"& \quad ", 1) for row in latex_rows(words))]
    weight = weight_in_words(part.weight).replace("−", "-")
    return "\n".join(_aligned([rf"& {weight}{latex(part.title)} \\", *rows]))


def _aligned(rows: list[str]) -> list[str]:
    return [r"\begin{align*}", *rows, r"\end{align*}"]
