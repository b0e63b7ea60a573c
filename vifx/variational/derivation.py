"""Derivations: the lines that lead from a divergence of two joints to a loss, with formulas between dollars."""

from __future__ import annotations

__all__ = ["derive", "derive_importance_weighted", "derive_renyi", "term_formulas"]

from vifx.variational.pair import Pair


def term_formulas(both: Pair) -> dict[str, str]:
    """Return every term's formula by its name, in the order of the generative joint."""
    terms = {}
    for item in both.generative.modelled:
        name = both.term_of(item)
        partner = both.inference.factor_of(item.variables[0])
        terms[name] = f"E[−log {item}]" if name.startswith("nll/") else f"E KL({partner} ‖ {item})"
    return terms


def derive(both: Pair) -> tuple[str, ...]:
    """Derive the loss of `kl` from the definition of the divergence, equations (1) and (2)."""
    log_p = " + ".join(f"log {item}" for item in both.inference.factors)
    log_q = " − ".join(f"log {item}" for item in both.generative.factors)
    lines = [f"$KL = E[ {log_p} − {log_q} ]$   over $({', '.join(both.inference.variables)})$"]
    lines += [f"the evidence's own term, ${each}$, has no parameters: it is dropped" for each in both.constants]
    factors = (*both.inference.factors, *both.generative.factors)
    for flow in dict.fromkeys(str(item) for item in factors if item.kind == "transformed"):
        variable = next(item.variables[0] for item in factors if str(item) == flow)
        parts = f"log base(f({variable})) + log|det ∂f({variable})/∂{variable}|"
        lines.append(f"$log {flow} = {parts}$, f the bijection   (3)")
    for item in (each for each in both.generative.factors if each.kind == "target"):
        lines.append(f"${item}$ is known up to its constant Z, which has no parameters: $log Z$ is dropped")
    lines.append(f"$L = {' + '.join(term_formulas(both).values())}$")
    if not both.constants:
        bound = ("$KL = L + log Z ≥ 0$,  and  $ELBO = −L ≤ log Z$",) if both.left_out else ()
        return (*lines, *bound)
    lines += [each.line for each in both.derived]
    if both.derived and _is_exact(both):
        lines.append(both.derived[0].consequence)
    given = ", ".join(variable for each in both.constants for variable in each.given)
    modelled = ", ".join(variable for each in both.constants for variable in each.variables)
    dropped = " ".join(map(str, both.constants))
    sign = "=" if _is_exact(both) else "≤"
    inside = f"{modelled} | {given}" if given else modelled
    return (*lines, f"$KL = L {dropped} ≥ 0$,  and  $ELBO = −L {sign} E[log generative({inside})]$")


def _is_exact(both: Pair) -> bool:
    """Return whether the inference joint adds nothing to the data but what the present model says of its latents."""
    if not both.inference.modelled:
        return True
    return both.wholly_derived and all(each.tight for each in both.derived)


def derive_importance_weighted(both: Pair, samples: int, outer: int, *, apart: bool) -> tuple[str, ...]:
    """Derive the importance-weighted bound, in nats per example, from Jensen's inequality."""
    weights = _weights(both)
    if weights is None:
        return (f"without latents the bound is the log-likelihood: {_likelihood(both)}, for every K",)
    *lines, least = weights
    lines.append(f"$L = −E log (1/{samples}) Σ_k w_k ≥ {least}$, by Jensen's inequality")
    if outer > 1:
        lines.append(f"the mean of {outer} such bounds has the same expectation, and less noise")
    if apart:
        lines.append(
            f"the inference joint moves by that, the generative one by the bound of K = {samples * outer}, which is "
            "tighter"
        )
    return tuple(lines)


def derive_renyi(both: Pair, alpha: float, samples: int) -> tuple[str, ...]:
    """Derive the Rényi bound of some draws from the inequality of power means."""
    weights = _weights(both)
    if weights is None:
        return (f"without latents the bound is the log-likelihood: {_likelihood(both)}, for every α and K",)
    *lines, least = weights
    power = "exp (1/K) Σ_k log w_k" if alpha == 1 else f"((1/K) Σ_k w_k^({1 - alpha:g}))^(1/({1 - alpha:g}))"
    lines.append(f"$M_(1−α)(w) = {power}$, which falls as α grows; $M_1$ is the mean")
    if alpha < 0:
        lines.append(f"$L = −E log M_(1−α)(w_1 … w_{samples})$; α < 0, so it bounds nothing for finite K")
    else:
        means = f"−E log M_1(w_1 … w_{samples}) ≥ {least}"
        lines.append(f"$L = −E log M_(1−α)(w_1 … w_{samples}) ≥ {means}$, by power means and Jensen's inequality")
    return tuple(lines)


def _likelihood(both: Pair) -> str:
    return f"$L = −E log {' '.join(map(str, both.generative.modelled))}$"


def _weights(both: Pair) -> tuple[str, str, str] | None:
    """Say what weights are, of what their mean is, and what that bounds; None where there are no latents."""
    numerator = " ".join(map(str, both.generative.modelled))
    if not both.inference.modelled and not both.left_out:
        return None
    weight = f"$w = {numerator} / {' '.join(map(str, both.inference.modelled))}$"
    drawn = f"for (${', '.join(item.variables[0] for item in both.inference.modelled)}$) drawn from the inference joint"
    mean, bound = "E[w]$ is the generative likelihood of the evidence", "−E log likelihood"
    if both.left_out:
        mean, bound = "E[w] = Z$, the target's constant", "−log Z"
    return weight, f"${mean}, {drawn}", bound
