"""Derivations in words: the lines that lead from a divergence of two joints to a loss."""

from __future__ import annotations

__all__ = ["derive", "derive_importance_weighted", "tex", "term_formulas"]

from vifx.core.factor import Factor
from vifx.variational.pair import Pair

Lines = tuple[tuple[str, str], ...]


def tex(item: Factor) -> str:
    """Return a factor in LaTeX."""
    if item.kind == "evidence":
        return rf"\tilde p({item.name})"
    label = item.label.replace("_", r"\_").replace("δ", r"\delta ")
    return rf"\mathrm{{{label}}}({item.name.replace('|', chr(92) + 'mid')})"


def term_formulas(both: Pair) -> tuple[tuple[str, str, str], ...]:
    """Return every term's name, formula and LaTeX, in the order of the generative joint."""
    terms = []
    for item in both.generative.modelled:
        name = both.term_of(item)
        if name.startswith("nll/"):
            terms.append((name, f"E[−log {item}]", rf"\mathbb{{E}}[-\log {tex(item)}]"))
        else:
            partner = both.inference.factor_of(item.variables[0])
            latex = rf"\mathbb{{E}}\,\mathrm{{KL}}({tex(partner)} \,\|\, {tex(item)})"
            terms.append((name, f"E KL({partner} ‖ {item})", latex))
    return tuple(terms)


def derive(both: Pair) -> Lines:
    """Derive the loss of `kl` from the definition of the divergence, equations (1) and (2)."""
    variables = ", ".join(both.inference.variables)
    log_p = [(f"log {f}", rf"\log {tex(f)}") for f in both.inference.factors]
    log_q = [(f"log {f}", rf"\log {tex(f)}") for f in both.generative.factors]
    lines = [
        (
            f"KL = E[ {' + '.join(p for p, _ in log_p)} − {' − '.join(q for q, _ in log_q)} ]   over ({variables})",
            rf"\mathrm{{KL}} = \mathbb{{E}}[{' + '.join(p for _, p in log_p)} - {' - '.join(q for _, q in log_q)}]",
        )
    ]
    for constant in both.constants:
        text = f"the evidence's own term, {constant}, has no parameters: it is dropped"
        lines.append((text, rf"{_tex_entropy(str(constant))} \text{{ has no parameters: it is dropped}}"))
    flows = {str(f): f for f in (*both.inference.factors, *both.generative.factors) if f.kind == "transformed"}
    for item in flows.values():
        variable = item.variables[0]
        text = f"log {item} = log base(f({variable})) + log|det ∂f({variable})/∂{variable}|, f the bijection"
        latex = rf"\log {tex(item)} = \log \mathrm{{base}}(f({variable})) + \log|\det \partial f / \partial {variable}|"
        lines.append((f"{text}   (3)", latex))
    for item in (f for f in both.generative.factors if f.kind == "target"):
        text = f"{item} is known up to its constant Z, which has no parameters: log Z is dropped"
        lines.append((text, r"\log Z \text{ has no parameters: it is dropped}"))
    terms = term_formulas(both)
    total = " + ".join(text for _, text, _ in terms)
    tex_total = " + ".join(latex for _, _, latex in terms)
    lines.append((f"L = {total}", rf"\mathcal{{L}} = {tex_total}"))
    if not both.constants:
        if both.left_out:
            bound = r"\mathrm{KL} = \mathcal{L} + \log Z \ge 0, \quad \mathrm{ELBO} = -\mathcal{L} \le \log Z"
            lines.append(("KL = L + log Z ≥ 0,  and  ELBO = −L ≤ log Z", bound))
        return tuple(lines)
    lines += _derived_lines(both)
    given = ", ".join(v for c in both.constants for v in c.given)
    inside = ", ".join(v for c in both.constants for v in c.variables) + (f" | {given}" if given else "")
    dropped = " ".join(map(str, both.constants))
    tex_inside = inside.replace("|", r"\mid")
    sign, tex_sign = ("=", "=") if _is_exact(both) else ("≤", r"\le")
    text = f"KL = L {dropped} ≥ 0,  and  ELBO = −L {sign} E[log generative({inside})]"
    latex = (
        rf"\mathrm{{KL}} = \mathcal{{L}} {_tex_entropy(dropped)} \ge 0, \quad "
        rf"\mathrm{{ELBO}} = -\mathcal{{L}} {tex_sign} \mathbb{{E}}[\log q({tex_inside})]"
    )
    return (*lines, (text, latex))


def _derived_lines(both: Pair) -> Lines:
    """Say what the derived factors are, and what follows if they make the bound exact."""
    lines = tuple(each.line for each in both.derived)
    return (*lines, both.derived[0].consequence) if lines and _is_exact(both) else lines


def _is_exact(both: Pair) -> bool:
    """Return whether the inference joint adds nothing to the data but what the present model says of its latents."""
    if not both.inference.modelled:
        return True
    return both.wholly_derived and all(each.tight for each in both.derived)


def derive_importance_weighted(both: Pair, samples: int) -> Lines:
    """Derive the importance-weighted bound, in nats per example, from Jensen's inequality."""
    latents, modelled = both.inference.modelled, both.generative.modelled
    numerator = " ".join(map(str, modelled))
    denominator = " ".join(map(str, latents))
    tex_ratio = rf"\frac{{{' '.join(map(tex, modelled))}}}{{{' '.join(map(tex, latents))}}}"
    drawn = ", ".join(f.variables[0] for f in latents)
    if both.left_out:
        return (
            (f"w = {numerator} / {denominator}", rf"w = {tex_ratio}"),
            (f"E[w] = Z, the target's constant, for ({drawn}) drawn from the inference joint", r"\mathbb{E}[w] = Z"),
            (
                f"L = −E log (1/{samples}) Σ_k w_k ≥ −log Z, by Jensen's inequality",
                rf"\mathcal{{L}}_{{{samples}}} = -\mathbb{{E}}\log\tfrac{{1}}{{{samples}}}\sum_k w_k \ge -\log Z",
            ),
        )
    if not latents:
        exact = rf"\mathcal{{L}}_{{{samples}}} = -\mathbb{{E}}\log q(x)"
        return ((f"without latents the bound is the log-likelihood: L = −E log {numerator}, for every K", exact),)
    return (
        (f"w = {numerator} / {denominator}", rf"w = {tex_ratio}"),
        (
            f"E[w] is the generative likelihood of the evidence, for ({drawn}) drawn from the inference joint",
            r"\mathbb{E}[w] = q(x)",
        ),
        (
            f"L = −E log (1/{samples}) Σ_k w_k ≥ −E log likelihood, by Jensen's inequality",
            rf"\mathcal{{L}}_{{{samples}}} = -\mathbb{{E}}\log\tfrac{{1}}{{{samples}}}\sum_k w_k "
            r"\ge -\mathbb{E}\log q(x)",
        ),
    )


def _tex_entropy(text: str) -> str:
    return text.replace("p̃", r"\tilde p").replace("|", r"\mid").replace("−", "-")
