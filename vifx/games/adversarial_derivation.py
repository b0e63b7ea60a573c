"""The adversarial objectives in words: derivations, dropped constants and terms, for `vifx.explain`."""

from __future__ import annotations

__all__ = ["constants_in_words", "derive_adversarial", "describe_terms", "how_drawn", "sides_in_words"]

from collections.abc import Callable

import jax

from vifx.core.objective import Term
from vifx.core.types import Batch, Key, Networks, Params, State
from vifx.games.compared import Side, Sides, walk_side
from vifx.games.game import Game
from vifx.games.losses import Setting
from vifx.variational.walk import Visit, treatments


def derive_adversarial(setting: Setting) -> tuple[str, ...]:
    """Return the lines that lead to both players' losses."""
    both, critic_game, played = setting.sides, setting.critic_game, setting.game
    if played.name == critic_game.name == "labelled_kl":
        return (_roles(setting), *_labelled(setting))
    lines = [_roles(setting), *filter(None, dict.fromkeys((critic_game.symbols, played.symbols)))]
    lines.append(f"critic's turn: minimize ${critic_game.critic.formula}$; at its best {critic_game.optimum}")
    if critic_game.name != played.name:
        lines.append("the critic's output is the log ratio $ℓ$, from which the model's divergence is made")
    lines.append(f"${played.target}(A, B) {'≥' if played.bound == 'at_least' else '≈'} {_bound(played)}$")
    kept = "" if both.a.moves or played.paired else "; what is under A alone is constant and left out"
    return (*lines, f"model's turn, form {setting.form}: minimize ${played.forms[setting.form].formula}${kept}")


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


def sides_in_words(both: Sides) -> str:
    """Say what A and B are, and which of them moves."""
    named = zip("AB", both[:2], strict=True)
    return ";  ".join(f"${name} = {side.joint}$ ({'moves' if side.moves else 'stands still'})" for name, side in named)


def _roles(setting: Setting) -> str:
    critic_game, played = setting.critic_game, setting.game
    output = "$ℓ$ is the critic's output" if critic_game.log_ratio is None else "the critic's $ℓ$ estimates $log A/B$"
    if critic_game.symbols is not None and critic_game.log_ratio is None:
        output = "v is the critic's output"
    halves = all(each.name != "labelled_kl" or each.label_prior == 0.5 for each in (critic_game, played))
    if halves and "labelled_kl" in (critic_game.name, played.name):
        output += ", $D = σ(ℓ)$"
    return f"{sides_in_words(setting.sides)};  {output}"


def _labelled(setting: Setting) -> tuple[str, ...]:
    both, played = setting.sides, setting.game
    half = played.label_prior == 0.5
    one, other, entropy = ("½", "½", "log 2") if half else ("π", "(1−π)", "H(y)")
    shift = "" if half else f", $π = {played.label_prior:g}$, $D = σ(ℓ + log π/(1−π))$"
    lines = (
        f"label y: $r(s, 1) = {one} A(s)$, $r(s, 0) = {other} B(s)$;  $t(s, y) = D^y (1−D)^(1−y) A(s)${shift}",
        f"$KL(r ‖ t) = {one} E_A[−log D] + {other} E_B[−log(1−D)] + {other} KL(B ‖ A) − {entropy}$   (5)",
        f"critic's turn: minimize ${played.critic.formula}$; at its best {played.optimum}",
    )
    return (*lines, _models_turn(both, half), _form_in_words(both, played, setting.form))


def _models_turn(both: Sides, half: bool) -> str:
    """Return equation (6) or (8): twice (5) with the critic as it was found, up to a constant."""
    under_b = "E_B[−log D] + KL(B ‖ B°)"
    if both.a.moves:
        found = "D = A°/(A°+B°)" if half else "D = πA°/(πA°+(1−π)B°)"
        under_b, number = f"{under_b} + E_B log A°/A", "(8)"
    else:
        found, number = f"A = {'' if half else '(1−π)/π '}B° D/(1−D)", "(6)"
    under_a = f"{'' if half else '2π '}E_A[−log D] + " if both.a.moves else ""
    whole = under_a + (under_b if half else f"2(1−π) ({under_b})")
    return f"model's turn: with ${found}$ in (5), as the critic found it, ${whole}$   {number}"


def _form_in_words(both: Sides, played: Game, form: str) -> str:
    formula = played.forms[form].formula
    if not both.a.moves:
        formula = formula.partition(" + ")[2] if form in ("nonsaturating", "truncated", "full") else formula
    match form:
        case "full" if both.hidden:
            seen, whole = ", ".join(both.on), ", ".join(both.b.joint.variables)
            return (
                f"form full: every term, against the anchors of the phase, $KL(B({seen}) ‖ B°({seen})) ≤ "
                f"KL(B({whole}) ‖ B°({whole}))$, which is what is computed   (7)"
            )
        case "full":
            return "form full: every term, against the anchors of the phase"
        case "truncated" if both.a.moves:
            return (
                f"form truncated: ${formula}$, as published: NOT a descent direction for ${both.a.joint}$, because the "
                "gradient of the dropped $E_B log A°/A$ is not zero at the anchor"
            )
        case "truncated":
            return f"form truncated: ${formula}$, without $KL(B ‖ B°)$, whose gradient is zero at the anchor"
        case "nonsaturating" if both.a.moves:
            return f"form nonsaturating: ${formula}$, the critic's loss with its labels exchanged"
        case "nonsaturating":
            dropped = "without $KL(B ‖ B°)$, whose gradient is zero at the anchor"
            return f"form nonsaturating: ${formula}$, which is (6) {dropped}"
    return f"form {form}: ${formula}$, minus the critic's loss: $2 JS(A, B)$ up to a constant, at the best critic"


def constants_in_words(setting: Setting) -> tuple[str, ...]:
    """Return what the two losses leave out of twice the labelled KL; nothing for the other games."""
    critic_game, played, words = setting.critic_game, setting.game, []
    if critic_game.name == "labelled_kl":
        words.append(
            "critic: + KL(B ‖ A) − 2 log 2, of 2 KL(r ‖ t)"
            if critic_game.label_prior == 0.5
            else "critic: + 2(1−π) KL(B ‖ A) − 2 H(y), of 2 KL(r ‖ t)"
        )
    if played.name == "labelled_kl" and setting.form == "full":
        share = "" if played.label_prior == 0.5 else "2π "
        still = "" if setting.sides.a.moves else f"+ {share}E_A[−log D] "
        log_prior = "− 2 log 2" if played.label_prior == 0.5 else "+ 2 log π"
        words.append(f"model: {still}{log_prior}, of 2 KL(r ‖ t)")
    return tuple(words)


def describe_terms(
    setting: Setting, init: Callable[[Key, Batch], tuple[Params, State]], batch: Batch | None
) -> tuple[Term, ...]:
    """Return every term of both losses with the way it is estimated.

    Args:
      init: of the objective, for the shapes of the networks.
      batch: arrays or shapes; None if not known.
    """
    both, played, form, prefix = setting.sides, setting.game, setting.form, setting.prefix
    estimators = how_drawn(both, init, batch)
    under_b = f"B: {_how(both.b, init, batch)}"
    terms = [Term(f"{prefix}loss/critic", f"${setting.critic_game.critic.formula}$", estimators, "1")]
    if count := len(setting.penalties):
        words = "one penalty on the critic" if count == 1 else f"{count} penalties on the critic"
        terms.append(Term(f"{prefix}penalty", words, "at samples of A and B", "its own"))
    truncated = "_truncated" if form == "truncated" and both.a.moves else ""
    how = estimators if both.a.moves or played.paired else under_b
    formula = f"{form}: ${played.forms[form].formula}$"
    terms.append(Term(f"{prefix}adversarial/{setting.on}{truncated}", formula, how, "1"))
    distance = "$Σ_v E_B KL(B(v | pa) ‖ B°(v | pa))$, or $E_B ‖G − G°‖²$ per element of a deterministic map"
    if form == "full":
        share, at_most = f"{2 * (1 - played.label_prior):g}", "_at_most" if both.hidden else ""
        terms.append(Term(f"{prefix}kl_to_anchor/{setting.on}{at_most}", distance, under_b, share))
        if both.a.moves:
            terms.append(Term(f"{prefix}log_ratio_to_anchor/{setting.on}", "$E_B log A°/A$", under_b, share))
    if setting.pulls:
        weight = "schedule of the update count" if callable(setting.proximal) else f"{setting.proximal:g}"
        terms.append(Term(f"{prefix}proximal/{setting.on}", distance, under_b, weight))
    return tuple(terms)


def how_drawn(both: Sides, init: Callable[[Key, Batch], tuple[Params, State]], batch: Batch | None) -> str:
    """Say how the expectations under A and B are taken.

    Args:
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
        return walk_side(jax.random.clone(key), side, Networks(*init(key, batch)), batch)[0].visits

    how = treatments(visits, batch, 1)
    if set(how.values()) == {"summed over all states"}:
        return "summed over all states"
    return "; ".join(f"{name}: {words}" for name, words in how.items())
