"""The adversarial objectives in words: derivations, dropped constants and terms, for `vifx.explain`."""

from __future__ import annotations

__all__ = ["constants_in_words", "derive_adversarial", "describe_terms", "how_drawn"]

from collections.abc import Callable

import jax

from vifx.core.objective import Term
from vifx.core.types import Batch, Key, Params, State
from vifx.games.compared import Side, Sides, walk_side
from vifx.games.game import Game
from vifx.variational.derivation import tex
from vifx.variational.walk import Visit, treatments

_Lines = tuple[tuple[str, str], ...]


def derive_adversarial(both: Sides, judge: Game, played: Game, form: str) -> tuple[str, str, _Lines]:
    """Return the title, the same in LaTeX, and the lines that lead to both players' losses."""
    on = ", ".join(both.on)
    words = "labelled KL" if played.name == "labelled_kl" else played.name.replace("_", " ")
    title, latex = f"{words} by a critic on ({on})", rf"\text{{{words} by a critic on }} ({on})"
    lines = [_roles(both, judge, played)]
    if played.name == judge.name == "labelled_kl":
        return title, latex, (*lines, *_labelled(both, played, form))
    lines += [symbols for symbols in dict.fromkeys((judge.symbols, played.symbols)) if symbols is not None]
    lines.append(
        (f"critic's turn: minimize {judge.critic.formula}; at its best {judge.optimum}", _tex(judge.critic.formula))
    )
    if judge.name != played.name:
        lines.append(("the critic's output is the log ratio ℓ, from which the model's divergence is made", r"\ell"))
    sign = "≥" if played.bound == "at_least" else "≈"
    bound = f"{played.target}(A, B) {sign} {_bound(played)}"
    lines.append((bound, _tex(bound)))
    formula = played.forms[form].formula
    kept = "" if both.a.moves or played.paired else "; what is under A alone is constant and left out"
    lines.append((f"model's turn, form {form}: minimize {formula}{kept}", _tex(formula)))
    return title, latex, tuple(lines)


def _bound(played: Game) -> str:
    loss = played.critic.formula
    match played.name:
        case "least_squares":
            return f"1 − 4 ({loss})"
        case "hinge":
            return f"1 − ½ ({loss})"
        case "relativistic":
            return f"log 2 − {loss}"
        case "labelled_kl":
            return f"H(y) − ½ ({loss})"
    return played.forms["minimax"].formula


def _roles(both: Sides, judge: Game, played: Game) -> tuple[str, str]:
    words = {True: "moves", False: "stands still"}
    a, b = (f"{name} = {side.joint} ({words[side.moves]})" for name, side in zip("AB", both[:2], strict=True))
    latex = " ,\\quad ".join(
        f"{name} = " + r" \cdot ".join(tex(item) for item in side.joint.factors)
        for name, side in zip("AB", both[:2], strict=True)
    )
    output = "ℓ is the critic's output" if judge.log_ratio is None else "the critic's ℓ estimates log A/B"
    if judge.symbols is not None and judge.log_ratio is None:
        output = "v is the critic's output"
    halves = all(each.name != "labelled_kl" or each.label_prior == 0.5 for each in (judge, played))
    if halves and "labelled_kl" in (judge.name, played.name):
        output += ", D = σ(ℓ)"
    return f"{a};  {b};  {output}", latex


def _labelled(both: Sides, played: Game, form: str) -> _Lines:
    half = played.label_prior == 0.5
    one, other = ("½", "½") if half else ("π", "(1−π)")
    label_entropy = "log 2" if half else "H(y)"
    shift = "" if half else f", π = {played.label_prior:g}, D = σ(ℓ + log π/(1−π))"
    lines = [
        (
            f"label y: r(s, 1) = {one} A(s), r(s, 0) = {other} B(s);  t(s, y) = D^y (1−D)^(1−y) A(s){shift}",
            r"r(s,1) = \pi A(s),\; r(s,0) = (1-\pi) B(s),\; t(s,y) = D^y (1-D)^{1-y} A(s)",
        ),
        (
            f"KL(r ‖ t) = {one} E_A[−log D] + {other} E_B[−log(1−D)] + {other} KL(B ‖ A) − {label_entropy}   (5)",
            r"\mathrm{KL}(r \,\|\, t) = \pi \mathbb{E}_A[-\log D] + (1-\pi) \mathbb{E}_B[-\log(1-D)] "
            r"+ (1-\pi) \mathrm{KL}(B \,\|\, A) - H(y)",
        ),
        (f"critic's turn: minimize {played.critic.formula}; at its best {played.optimum}", _tex(played.critic.formula)),
    ]
    lines.append(_models_turn(both, half))
    lines.append((_form_in_words(both, played, form), _tex(played.forms[form].formula)))
    return tuple(lines)


def _models_turn(both: Sides, half: bool) -> tuple[str, str]:
    """Return equation (6) or (8): twice (5) with the critic as it was found, up to a constant."""
    under_b = "E_B[−log D] + KL(B ‖ B°)"
    if both.a.moves:
        found = "D = A°/(A°+B°)" if half else "D = πA°/(πA°+(1−π)B°)"
        under_b, number = f"{under_b} + E_B log A°/A", "(8)"
    else:
        found, number = f"A = {'' if half else '(1−π)/π '}B° D/(1−D)", "(6)"
    under_a = f"{'' if half else '2π '}E_A[−log D] + " if both.a.moves else ""
    whole = under_a + (under_b if half else f"2(1−π) ({under_b})")
    return f"model's turn: with {found} in (5), as the critic found it, {whole}   {number}", _tex(whole)


def _form_in_words(both: Sides, played: Game, form: str) -> str:
    formula = played.forms[form].formula
    if not both.a.moves:
        formula = formula.partition(" + ")[2] if form in ("nonsaturating", "truncated", "full") else formula
    match form:
        case "full" if both.hidden:
            seen, whole = ", ".join(both.on), ", ".join(both.b.joint.variables)
            return (
                f"form full: every term, against the anchors of the phase, KL(B({seen}) ‖ B°({seen})) ≤ "
                f"KL(B({whole}) ‖ B°({whole})), which is what is computed   (7)"
            )
        case "full":
            return "form full: every term, against the anchors of the phase"
        case "truncated" if both.a.moves:
            return (
                f"form truncated: {formula}, as published: NOT a descent direction for {both.a.joint}, because the "
                "gradient of the dropped E_B log A°/A is not zero at the anchor"
            )
        case "truncated":
            return f"form truncated: {formula}, without KL(B ‖ B°), whose gradient is zero at the anchor"
        case "nonsaturating" if both.a.moves:
            return f"form nonsaturating: {formula}, the critic's loss with its labels exchanged"
        case "nonsaturating":
            return (
                f"form nonsaturating: {formula}, which is (6) without KL(B ‖ B°), whose gradient is zero at the anchor"
            )
    return f"form {form}: {formula}, minus the critic's loss: 2 JS(A, B) up to a constant, at the best critic"


def constants_in_words(both: Sides, judge: Game, played: Game, form: str) -> tuple[str, ...]:
    """Return what the two losses leave out of twice the labelled KL; nothing for the other games."""
    words = []
    if judge.name == "labelled_kl":
        words.append(
            "critic: + KL(B ‖ A) − 2 log 2, of 2 KL(r ‖ t)"
            if judge.label_prior == 0.5
            else "critic: + 2(1−π) KL(B ‖ A) − 2 H(y), of 2 KL(r ‖ t)"
        )
    if played.name == "labelled_kl" and form == "full":
        share = "" if played.label_prior == 0.5 else "2π "
        still = "" if both.a.moves else f"+ {share}E_A[−log D] "
        log_prior = "− 2 log 2" if played.label_prior == 0.5 else "+ 2 log π"
        words.append(f"model: {still}{log_prior}, of 2 KL(r ‖ t)")
    return tuple(words)


def describe_terms(
    both: Sides,
    prefix: str,
    judge: Game,
    played: Game,
    form: str,
    proximal: str | None,
    penalties: int,
    init: Callable[[Key, Batch], tuple[Params, State]],
    batch: Batch | None,
) -> tuple[Term, ...]:
    """Return every term of both losses with the way it is estimated.

    Args:
      both: A and B.
      prefix: of the metrics.
      judge: the critic's game.
      played: the model's game.
      form: the form of its loss.
      proximal: the weight in words, None for no term.
      penalties: how many there are on the critic.
      init: of the objective, for the shapes of the networks.
      batch: arrays or shapes; None if not known.
    """
    on = ",".join(both.on)
    estimators = how_drawn(both, init, batch)
    under_b = f"B: {_how(both.b, init, batch)}"
    terms = [Term(f"{prefix}loss/critic", judge.critic.formula, _tex(judge.critic.formula), estimators, "1")]
    if penalties:
        words = "one penalty on the critic" if penalties == 1 else f"{penalties} penalties on the critic"
        terms.append(Term(f"{prefix}penalty", words, r"\text{penalties}", "at samples of A and B", "its own"))
    formula = played.forms[form].formula
    truncated = form == "truncated" and both.a.moves
    label = f"{prefix}adversarial/{on}{'_truncated' if truncated else ''}"
    counts = both.a.moves or played.paired
    terms.append(Term(label, f"{form}: {formula}", _tex(formula), estimators if counts else under_b, "1"))
    distance = "Σ_v E KL(B(v|pa) ‖ B°(v|pa)), or E ‖G − G°‖² per element of a deterministic map"
    if form == "full":
        share = f"{2 * (1 - played.label_prior):g}"
        label = f"{prefix}kl_to_anchor/{on}{'_at_most' if both.hidden else ''}"
        terms.append(Term(label, distance, _tex("KL(B ‖ B°)"), under_b, share))
        if both.a.moves:
            ratio = Term(f"{prefix}log_ratio_to_anchor/{on}", "E_B log A°/A", _tex("E_B log A°/A"), under_b, share)
            terms.append(ratio)
    if proximal is not None:
        terms.append(Term(f"{prefix}proximal/{on}", distance, _tex("KL(B ‖ B°)"), under_b, proximal))
    return tuple(terms)


def how_drawn(both: Sides, init: Callable[[Key, Batch], tuple[Params, State]], batch: Batch | None) -> str:
    """Say how the expectations under A and B are taken.

    Args:
      both: A and B.
      init: of the objective, for the shapes of the networks.
      batch: arrays or shapes; None if not known.
    """
    return "; ".join(f"{name}: {_how(side, init, batch)}" for name, side in zip("AB", both[:2], strict=True))


def _how(side: Side, init: Callable[[Key, Batch], tuple[Params, State]], batch: Batch | None) -> str:
    if not side.joint.modelled:
        return "mean over the batch"
    if batch is None:
        return "drawn, or summed if finite; a batch decides"

    def visits(key: Key, batch: Batch) -> list[Visit]:
        params, state = init(key, batch)
        return walk_side(jax.random.clone(key), side, params, state, batch, train=False)[0].visits

    how = treatments(visits, batch, 1)
    if set(how.values()) == {"summed over all states"}:
        return "summed over all states"
    return "; ".join(f"{name}: {words}" for name, words in how.items())


def _tex(text: str) -> str:
    """Return a formula of this module in LaTeX."""
    pairs = (
        ("E_A E_B", r"\mathbb{E}_A \mathbb{E}_B"),
        ("E_A", r"\mathbb{E}_A"),
        ("E_B", r"\mathbb{E}_B"),
        ("KL(", r"\mathrm{KL}("),
        ("log ", r"\log "),
        ("log(", r"\log("),
        ("max(", r"\max("),
        ("°", r"^\circ"),
        ("‖", r"\,\|\,"),
        ("−", "-"),
        ("½", r"\tfrac12 "),
        ("²", "^2"),
        ("ℓ", r"\ell"),
        ("σ", r"\sigma"),
        ("π", r"\pi "),
        ("≥", r"\ge"),
    )
    for plain, latex in pairs:
        text = text.replace(plain, latex)
    return text
