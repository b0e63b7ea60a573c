"""How many components: information criteria and held-out likelihood over a range of numbers."""

from __future__ import annotations

__all__ = ["Candidate", "Selection", "select"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.checks import require, require_array, require_choice, require_function, require_integer, require_key
from vifx.core.types import Key
from vifx.em.families.family_names import FamilyName
from vifx.em.fit import fit
from vifx.em.fitted import Fit
from vifx.em.mixture import mixture
from vifx.em.model import Data, Model

Criterion: TypeAlias = Literal["bic", "aic", "held_out"]


class Candidate(NamedTuple):
    """One number of components, fitted.

    Attributes:
      components: how many.
      fit: the best of its starts.
      bic: in nats, less is better.
      aic: in nats, less is better.
      held_out: mean log q(x) of held-out examples in nats, more is better; None without any.
    """

    components: int
    fit: Fit
    bic: float
    aic: float
    held_out: float | None


class Selection(NamedTuple):
    """What was tried, and what is best.

    Attributes:
      best: the candidate that the criterion prefers.
      candidates: all, in the order given.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]


def select(
    key: Key,
    make: Callable[[int], Model] | FamilyName,
    components: Sequence[int],
    x: Data | Sequence[ArrayLike],
    *,
    criterion: Criterion = "bic",
    held_out: Data | Sequence[ArrayLike] | None = None,
    **options: Any,
) -> Selection:
    """Fit a model for each number of components, and choose one.

    Args:
      key: folded by the number of components, so that adding one changes no other's starts.
      make: the model of a number of components, such as ``lambda k: mixture("gaussian", k)``, for which the name of the
        family is enough; or of any other number, such as the size of a state, ``lambda d: lds(d, length=50)``.
      components: the numbers to try.
      x: as `fit` takes it.
      criterion: ``"bic"``, ``"aic"``, or ``"held_out"``, the mean log-likelihood of other examples.
      held_out: these examples.
      **options: of `fit`.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: an unknown criterion, no numbers, one twice, or ``"held_out"`` without held-out examples.

    References:
      Schwarz (1978), Estimating the dimension of a model; Akaike (1974).
    """
    require_key(key)
    own: Callable[[int], Model] = make if callable(make) else partial(mixture, make)
    require_function(own, "select: make", "of the number of components, such as lambda k: mixture('gaussian', k)")
    for number in require(components, Sequence, "select: components", "a sequence of numbers", "write range(1, 8)"):
        require_integer(number, "select: components")
    if held_out is not None and not isinstance(held_out, Mapping):
        require_array(held_out, "select: held_out")
    require_choice(criterion, get_args(Criterion), "select: criterion")
    if criterion == "held_out" and held_out is None:
        raise ValueError("select: criterion 'held_out' needs examples that are not fitted; give held_out=.")
    if not components or len(set(components)) < len(components):
        raise ValueError(f"select: components must be numbers, each once, got {list(components)}.")
    candidates = []
    for number in components:
        fitted = fit(jax.random.fold_in(key, number), own(number), x, **options)
        outside = None if held_out is None else float(jnp.mean(fitted.log_prob(held_out)))
        candidates.append(Candidate(number, fitted, fitted.bic(), fitted.aic(), outside))
    score = {
        "bic": lambda each: each.bic,
        "aic": lambda each: each.aic,
        "held_out": lambda each: -(each.held_out or 0.0),
    }
    return Selection(min(candidates, key=score[criterion]), tuple(candidates))
