"""What the symbols of a derivation mean, one line for each that occurs in it."""

from __future__ import annotations

__all__ = ["definitions"]

import re
from collections.abc import Iterable

# A symbol as it is shown, where it occurs, and what it means; formulas between dollars.
_MEANINGS = (
    ("$p̃$", "p̃", "the distribution of the data, which a batch samples"),
    ("$inference$, $generative$", r"\b(inference|generative)\b", "the two joints, and their densities"),
    ("$base$", r"\bbase\(", "the density of the flow's base distribution"),
    ("$δ$", "δ", "a deterministic map: it can be sampled and has no density"),
    ("$E$", r"(?<![A-Za-z])E\b(?!_| k\()", "the mean over the inference joint"),
    ("$E k$", r"(?<![A-Za-z])E k\(", "the mean of k over its two arguments"),
    ("$a$, $b$", r"ℓ\(a\)", "a draw of A and one of B"),
    ("$E_A$, $E_B$", r"(?<![A-Za-z])E_[AB]\b", "the means over A and over B"),
    ("$E_Q$", r"\bE_Q\b", "the mean over Q"),
    ("$H$", r"\bH\(", "the entropy, $H(p) = −E_p log p$"),
    ("$KL$", r"\bKL\b", "the Kullback–Leibler divergence, $E_P log P/Q$"),
    ("$JS$", r"\bJS\b", "the Jensen–Shannon divergence"),
    ("$L$", r"\bL\b", "the loss that is minimized"),
    ("$ELBO$", r"\bELBO\b", "the evidence lower bound"),
    ("$Σ_i$", "Σ_i", "the sum over the elements of an event"),
    ("$Σ_k$, $w_k$", r"\bw_k\b|Σ_k", "the sum over the draws of the latents, the weight of the draw k"),
    ("$f$", r"\bf\(P/Q\)", "a convex function, with $f(1) = 0$ up to a constant"),
    ("$s$", r"\bs\b", "a value of what is compared"),
    ("$α_t$, $σ_t$", "σ_t", "how much of the data and of the noise there is at the time t; primes are derivatives"),
    ("$σ$", "σ(?!_)", "the logistic function, $σ(t) = 1/(1 + e^(−t))$"),
    ("$B°$", "B°", "B as it was at the start of the phase"),
    ("$A°$", "A°", "A as it was at the start of the phase"),
    ("$Σ_t$", "Σ_t", "the sum over the steps of a path"),
    ("$z_s$, $z_t$", r"\bz_t\b", "a point of a path, data with noise, and the one after it"),
    ("$SNR$", r"\bSNR\b|γ", "the ratio of signal to noise: of the squares of their factors in $z_t$"),
    ("$γ$", "γ", "minus the logarithm of SNR"),
    ("$x̂$, $ε̂$", "x̂|ε̂", "what is predicted of the data, and of the noise, in $z_t$"),
    ("$α$, $α′$", "1 − α|α′", "how likely an element of the data is left at a time, and its slope"),
    ("$Σ_masked$", "Σ_masked", "the sum over the elements of $z_t$ that are masked"),
    ("$ρ$, $ρ̂$", "ρ̂", "rates of jumps to the other values, with the data and with what is predicted of them"),
    ("$Σ_v$, $pa$", r"Σ_v|\bpa\b", "the sum over the variables, the parents of one"),
    ("$G$, $G°$", "G°", "a deterministic map, now and at the start of the phase"),
)


def definitions(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return the symbols of some lines of a derivation that the lines do not define, each with its meaning.

    Example:
      >>> definitions(["minimize $E_A[−log σ(ℓ)]$"])[1][0]
      '$σ$'
    """
    formulas = " ".join(piece for line in lines for piece in line.split("$")[1::2])
    return [(symbol, meaning) for symbol, where, meaning in _MEANINGS if re.search(where, formulas)]
