"""Games by name: those of the library, and the game of any f-divergence."""

from __future__ import annotations

__all__ = ["from_divergence", "game"]

from collections.abc import Callable, Mapping
from typing import get_args

import jax.numpy as jnp

from vifx import divergences
from vifx.checks import nearest, require_choice
from vifx.core.types import Array
from vifx.divergences import Divergence
from vifx.games.game import (
    Game,
    Parametrization,
    Pieces,
    hinge,
    labelled_kl,
    least_squares,
    relativistic,
    wasserstein,
)


def from_divergence(divergence: Divergence, *, parametrization: Parametrization = "ratio") -> Game:
    """The variational bound of an f-divergence, equations (9) and (10), as a game.

    Args:
      parametrization: ``"ratio"``: the critic outputs ℓ and ``T = f′(e^ℓ)``; ``"activation"``: it outputs v
        and ``T`` is the divergence's activation of v.

    Raises:
      ValueError: if the divergence has no activation, or its ratio parametrization cannot train a critic.
    """
    require_choice(parametrization, get_args(Parametrization), "parametrization")
    activation, conjugate = divergence.activation, divergence.activated_conjugate
    ratio = parametrization == "ratio"
    if ratio and not divergence.ratio_trains:
        fix = (
            "use parametrization='activation'" if activation else "take an f that is curved, or one with an activation"
        )
        raise ValueError(
            f"divergence {divergence.name}: T = f′(e^ℓ) is piecewise constant, so that a critic gets no gradient in "
            f"the ratio parametrization; {fix}."
        )
    if ratio:
        value, conjugate_value = divergence.critic_value, divergence.conjugate_value
    elif activation is None or conjugate is None:
        raise ValueError(
            f"divergence {divergence.name} has no published activation; use parametrization='ratio', which needs none."
        )
    else:
        value, conjugate_value = activation, conjugate

    def score(logit: Array) -> Array:
        # T is increasing in the ratio, so it exceeds f′(1) where A is likelier.
        return logit if ratio else value(logit) - divergence.critic_value(jnp.zeros_like(logit))

    minimax = Pieces(value, lambda x: -conjugate_value(x), "E_A[T] − E_B[f*(T)]")
    return Game(
        name=divergence.name,
        critic=Pieces(lambda x: -value(x), conjugate_value, "−E_A[T] + E_B[f*(T)]"),
        forms={
            "nonsaturating": Pieces(conjugate_value, lambda x: -value(x), "E_A[f*(T)] − E_B[T]"),
            "saturating": minimax,
            "minimax": minimax,
        },
        target=divergence.name,
        estimate=lambda loss: -loss,
        bound="at_least",
        score=score,
        log_ratio=(lambda logit: logit) if ratio else None,
        optimum="$T* = f′(A/B)$",
        symbols=_symbols(divergence, ratio=ratio),
    )


def _symbols(divergence: Divergence, *, ratio: bool) -> str:
    """Say what f, f* and T are."""
    if ratio:
        made = "$T = f′(e^ℓ)$, so that $f*(T) = e^ℓ f′(e^ℓ) − f(e^ℓ)$   (10)"
    else:
        low, high = (f"{end:g}".replace("-", "−").replace("inf", "∞") for end in divergence.domain)
        made = f"$T = g(v)$, g the published activation, onto $({low}, {high})$   (9)"
    return f"${divergence.formula} = E_Q f(P/Q)$, $P = A$, $Q = B$;  $f*(t) = sup_u [u t − f(u)]$;  {made}"


_NAMED: Mapping[str, Callable[[], Game]] = {
    "wasserstein": wasserstein,
    "hinge": hinge,
    "least_squares": least_squares,
    "relativistic": relativistic,
}


def game(divergence: str | Divergence, *, parametrization: Parametrization = "ratio", label_prior: float = 0.5) -> Game:
    """Return the game of a divergence: by name, or of an f-divergence.

    Args:
      divergence: ``"labelled_kl"``, ``"wasserstein"``, ``"hinge"``, ``"least_squares"``, ``"relativistic"``, the
        name of an f-divergence such as ``"pearson"`` or ``"alpha(0.5)"``, or a `Divergence`.

    Raises:
      ValueError: an unknown name, or an option of another game.
      TypeError: neither a name nor a divergence.
    """
    if not isinstance(divergence, str | Divergence):
        raise TypeError(f"divergence must be a name or a Divergence, got {type(divergence).__name__}.")
    if label_prior != 0.5 and divergence != "labelled_kl":
        raise ValueError(f"label_prior={label_prior!r} is of divergence='labelled_kl' alone, got {divergence!r}.")
    if isinstance(divergence, Divergence):
        return from_divergence(divergence, parametrization=parametrization)
    if divergence in divergences.NAMES or "(" in divergence:
        return from_divergence(divergences.named(divergence), parametrization=parametrization)
    if parametrization != "ratio":
        raise ValueError(f"parametrization={parametrization!r} is of f-divergences alone, got {divergence!r}.")
    if divergence == "labelled_kl":
        return labelled_kl(label_prior=label_prior)
    if divergence not in _NAMED:
        known = ("labelled_kl", *_NAMED, *divergences.NAMES)
        raise ValueError(
            f"divergence {divergence!r} is unknown{nearest(divergence, known)}; there are {', '.join(known)}."
        )
    return _NAMED[divergence]()
