"""Games: what a critic and a model minimize, as functions of the critic's outputs on two distributions.

A and B are two distributions that can be sampled; the critic's output ℓ estimates log A/B. A game is a pair of
functions of ℓ for the critic, one for samples of A and one for samples of B, and such a pair for each form of the
model's loss. Every game of the library is made here; those of f-divergences follow from the divergence, see `named`.
"""

from __future__ import annotations

__all__ = [
    "Form",
    "Game",
    "Parametrization",
    "Pieces",
    "hinge",
    "labelled_kl",
    "least_squares",
    "relativistic",
    "wasserstein",
]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from vifx.core.types import Array

Form: TypeAlias = Literal["nonsaturating", "saturating", "minimax", "full", "truncated"]
"""What the model minimizes; "saturating" is the name of "minimax" where one distribution stands still."""
Parametrization: TypeAlias = Literal["ratio", "activation"]
"""What the critic outputs for an f-divergence: the log ratio, or the argument of the published activation."""
_Elementwise: TypeAlias = Callable[[Array], Array]


class Pieces(NamedTuple):
    """A loss as expectations of two functions of the critic's output.

    Attributes:
      at_a: its expectation is under A.
      at_b: its expectation is under B.
      formula: the sum of both, in plain text.
    """

    at_a: _Elementwise
    at_b: _Elementwise
    formula: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Game:
    """A critic and a model against each other.

    Attributes:
      name: ``"labelled_kl"``, ``"wasserstein"``, ``"pearson"``, …
      critic: what the critic minimizes.
      forms: what the model minimizes, by the name of the form.
      target: what the critic estimates, as its metric is called: ``"js"``, ``"pearson"``, …
      estimate: from the critic's loss to that estimate.
      bound: ``"at_least"`` if its expectation is a lower bound for every critic, ``"estimate"`` if that needs a
        constraint on the critic.
      score: the critic's output as a number that is positive where A is likelier; None if none is.
      log_ratio: the critic's output as an estimate of log A/B; None if it is none.
      paired: whether the functions are of differences ℓ(a) − ℓ(b), over all pairs; `at_a` then has no use.
      optimum: the best critic, in plain text.
      label_prior: the prior probability of the label of A, where there are labels.
      symbols: what the formulas' letters are, where they are more than ℓ and D; formulas between dollars.
    """

    name: str
    critic: Pieces
    forms: Mapping[str, Pieces]
    target: str
    estimate: _Elementwise
    bound: Literal["at_least", "estimate"]
    score: _Elementwise | None
    log_ratio: _Elementwise | None
    paired: bool = False
    optimum: str = ""
    label_prior: float = 0.5
    symbols: str | None = None


def labelled_kl(*, label_prior: float = 0.5) -> Game:
    """The KL between labelled joints, equations (5) and (6): the critic is a classifier of origin.

    With the prior π of the label, ``D = σ(ℓ + log π/(1−π))``, so that ℓ* = log A/B for every π. Losses are
    ``2π E_A[…] + 2(1−π) E_B[…]``: the usual sums at π = ½. The estimate is a lower bound of the
    Jensen–Shannon divergence with weights π and 1 − π, in nats.

    Raises:
      ValueError: if it is not between 0 and 1.
    """
    if not 0 < label_prior < 1:
        raise ValueError(f"label_prior must be between 0 and 1, exclusively, got {label_prior!r}; 0.5 is usual.")
    shift = math.log(label_prior) - math.log1p(-label_prior)
    share_a, share_b = 2 * label_prior, 2 * (1 - label_prior)
    entropy = -label_prior * math.log(label_prior) - (1 - label_prior) * math.log1p(-label_prior)
    of_a = "" if label_prior == 0.5 else f"{share_a:g} "
    of_b = "" if label_prior == 0.5 else f"{share_b:g} "

    def minus_log_critic(logit: Array) -> Array:
        return jax.nn.softplus(-(logit + shift))

    def minus_log_other(logit: Array) -> Array:
        return jax.nn.softplus(logit + shift)

    def pieces(at_a: _Elementwise, at_b: _Elementwise, in_a: str, in_b: str, sign: float = 1.0) -> Pieces:
        formula = f"{of_a}E_A[{in_a}] + {of_b}E_B[{in_b}]"
        return Pieces(lambda x: sign * share_a * at_a(x), lambda x: sign * share_b * at_b(x), formula)

    critic = pieces(minus_log_critic, minus_log_other, "−log D", "−log(1−D)")
    minimax = pieces(minus_log_critic, minus_log_other, "log D", "log(1−D)", -1.0)
    truncated = pieces(minus_log_critic, minus_log_critic, "−log D", "−log D")
    forms = {
        "nonsaturating": pieces(minus_log_other, minus_log_critic, "−log(1−D)", "−log D"),
        "saturating": minimax,
        "minimax": minimax,
        "full": truncated,
        "truncated": truncated,
    }
    optimum = "$D* = A/(A+B)$" if label_prior == 0.5 else f"$D* = πA/(πA+(1−π)B)$, $π = {label_prior:g}$"
    return Game(
        name="labelled_kl",
        critic=critic,
        forms=forms,
        target="js",
        estimate=lambda loss: entropy - 0.5 * loss,
        bound="at_least",
        score=lambda logit: logit,
        log_ratio=lambda logit: logit,
        optimum=optimum,
        label_prior=label_prior,
    )


def wasserstein() -> Game:
    """The Kantorovich–Rubinstein dual of the Wasserstein distance, ``sup E_A ℓ − E_B ℓ`` over 1-Lipschitz ℓ.

    The constraint is not here: `vifx.lipschitz` has it. With a critic of Lipschitz constant C the estimate is
    at most C times the distance.

    Reference: Arjovsky et al. (2017), arXiv:1701.07875.
    """
    minimax = Pieces(lambda x: x, lambda x: -x, "E_A[ℓ] − E_B[ℓ]")
    return Game(
        name="wasserstein",
        critic=Pieces(lambda x: -x, lambda x: x, "−E_A[ℓ] + E_B[ℓ]"),
        forms=dict.fromkeys(("nonsaturating", "saturating", "minimax"), minimax),
        target="wasserstein",
        estimate=lambda loss: -loss,
        bound="estimate",
        score=None,
        log_ratio=None,
        optimum="a Kantorovich potential",
    )


def hinge() -> Game:
    """The hinge loss, ``E_A max(0, 1−ℓ) + E_B max(0, 1+ℓ)``; its estimate bounds the total variation from below.

    Reference: Lim & Ye (2017), arXiv:1705.02894; Miyato et al. (2018), arXiv:1802.05957.
    """

    def below(logit: Array) -> Array:
        return jax.nn.relu(1 - logit)

    def above(logit: Array) -> Array:
        return jax.nn.relu(1 + logit)

    minimax = Pieces(lambda x: -below(x), lambda x: -above(x), "−E_A[max(0, 1−ℓ)] − E_B[max(0, 1+ℓ)]")
    return Game(
        name="hinge",
        critic=Pieces(below, above, "E_A[max(0, 1−ℓ)] + E_B[max(0, 1+ℓ)]"),
        forms={
            "nonsaturating": Pieces(lambda x: x, lambda x: -x, "E_A[ℓ] − E_B[ℓ]"),
            "saturating": minimax,
            "minimax": minimax,
        },
        target="total_variation",
        estimate=lambda loss: 1 - 0.5 * loss,
        bound="at_least",
        score=lambda logit: logit,
        log_ratio=None,
        optimum="$ℓ* = sign(A − B)$",
    )


def least_squares() -> Game:
    """Least squares with targets 1 for A and 0 for B; its estimate bounds the Le Cam divergence from below.

    ``½E_A(ℓ−1)² + ½E_B ℓ² ≥ ¼(1 − LC)`` with ``LC = ½ Σ (A−B)²/(A+B)``, equality at ``ℓ* = A/(A+B)``.

    Reference: Mao et al. (2017), arXiv:1611.04076.
    """

    def to_one(logit: Array) -> Array:
        return 0.5 * jnp.square(logit - 1)

    def to_zero(logit: Array) -> Array:
        return 0.5 * jnp.square(logit)

    minimax = Pieces(lambda x: -to_one(x), lambda x: -to_zero(x), "−½E_A[(ℓ−1)²] − ½E_B[ℓ²]")
    return Game(
        name="least_squares",
        critic=Pieces(to_one, to_zero, "½E_A[(ℓ−1)²] + ½E_B[ℓ²]"),
        forms={
            "nonsaturating": Pieces(to_zero, to_one, "½E_A[ℓ²] + ½E_B[(ℓ−1)²]"),
            "saturating": minimax,
            "minimax": minimax,
        },
        target="le_cam",
        estimate=lambda loss: 1 - 4 * loss,
        bound="at_least",
        score=lambda logit: logit - 0.5,
        log_ratio=None,
        optimum="$ℓ* = A/(A+B)$",
    )


def relativistic() -> Game:
    """The relativistic game: the critic tells the samples of a pair apart, ``E_A E_B[−log σ(ℓ(a) − ℓ(b))]``.

    The expectation is over all pairs of the two minibatches. The estimate, ``log 2 − loss``, bounds the
    relativistic divergence from below.

    Reference: Jolicoeur-Martineau (2019), arXiv:1807.00734.
    """

    def apart(difference: Array) -> Array:
        return jax.nn.softplus(-difference)

    minimax = Pieces(apart, lambda x: -apart(x), "E_A E_B[log σ(ℓ(a) − ℓ(b))]")
    return Game(
        name="relativistic",
        critic=Pieces(apart, apart, "E_A E_B[−log σ(ℓ(a) − ℓ(b))]"),
        forms={
            "nonsaturating": Pieces(apart, jax.nn.softplus, "E_A E_B[−log σ(ℓ(b) − ℓ(a))]"),
            "saturating": minimax,
            "minimax": minimax,
        },
        target="relativistic",
        estimate=lambda loss: math.log(2) - loss,
        bound="at_least",
        score=None,
        log_ratio=None,
        paired=True,
        optimum="ranks a above b as often as possible",
    )
