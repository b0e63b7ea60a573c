"""Verification: an objective against the enumerated divergence that it claims to be."""

from __future__ import annotations

__all__ = ["Verification", "verify"]

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.objective import Objective, Part
from vifx.core.types import Array, Batch, Params, State
from vifx.verification.enumeration import constant_value


@dataclass(frozen=True, eq=False, kw_only=True)
class Verification:
    """How far one player's loss is from its claim.

    Attributes:
      loss: the loss plus the constants that the objective drops, in nats.
      claim: the enumerated divergence, in nats.
      gap: where the loss is an upper bound of its claim, how far that bound lies above it, enumerated; else 0.
      value_error: ``|loss − claim − gap|``.
      gradient_error: the largest difference of any partial derivative of the two sides of that, over the parameters
        it owns.
      cosines: for each network that it owns, the cosine between the gradients of loss and claim: 1 if the loss
        descends the claim there, negative if it ascends it; NaN where a gradient is zero.
    """

    loss: float
    claim: float
    gap: float
    value_error: float
    gradient_error: float
    cosines: Mapping[str, float]


def verify(objective: Objective, params: Params, state: State, batch: Batch) -> dict[str, Verification]:
    """Compare every player's loss with what it claims to be, by value and by gradient.

    The claim is enumerated over a finite space: equation (1) for `kl`, the critic's and the model's losses for
    `adversarial`, of which the forms "full" and "truncated" both claim equations (6) and (8) of the marginals on what
    the critic sees; p̃ is the empirical distribution of the batch. The loss is run as it is trained, in evaluation
    mode, and the entropies in `objective.dropped` are added at their values. Run it in double precision
    (``jax.enable_x64(True)``): the errors are then of the order of 1e-15, and a wrong constant or sign is of the order
    of 1.

    Args:
      objective: over finite variables: integer evidence and categorical latents
        (`vifx.verification.tabular` makes their networks).
      params: one entry per owner, and the anchors that losses read.
      state: one entry per owner.
      batch: concrete integers, ``[examples]`` per variable; labels that a factor explains may be soft, rows
        ``[classes]`` that sum to 1, which are read as distributions: an example is one of each class, weighted by it.

    Returns:
      One `Verification` per player.

    Raises:
      ValueError: a variable is not finite, and the message names its factor; or a player's loss claims nothing.

    Example:
      >>> import jax, jax.numpy as jnp, vifx
      >>> from vifx.verification import tabular
      >>> inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", tabular(3, states=2), name="encoder"))
      >>> generative = vifx.Joint(
      ...     vifx.factor("z", tabular(states=2), name="prior"),
      ...     vifx.factor("x | z", tabular(2, states=3), name="decoder"),
      ... )
      >>> objective = vifx.kl(inference, generative)
      >>> batch = {"x": jnp.array([0, 1, 1, 2])}
      >>> params, state = objective.init(jax.random.key(0), batch)
      >>> vifx.verify(objective, params, state, batch)["model"].value_error < 1e-6
      True
    """
    for name in objective.players:
        if not any(name in part.exact for part in objective.parts):
            raise ValueError(f"verify: player {name!r} of {objective!r} claims nothing that could be enumerated.")
    result = {}
    for name, player in objective.players.items():
        owned = {owner: params[owner] for owner in player.owns}
        key = jax.random.key(0)  # nothing is drawn on a finite space

        def loss(owned: Params, key: Any = key, run: Any = player.loss, name: str = name) -> Array:
            value, _ = run(key, {**params, **owned}, state, batch, train=False)
            parts = (part for part in objective.parts if name in part.exact)
            return value + sum(part.weight * _constants(part, batch) for part in parts)

        def enumerated(owned: Params, which: str, name: str = name) -> Array:
            total = jnp.zeros(())
            for part in objective.parts:
                found = getattr(part, which)
                if name in found:
                    total = total + part.weight * found[name]({**params, **owned}, state, batch)
            return total

        sides = (loss, partial(enumerated, which="exact"), partial(enumerated, which="gaps"))
        found = jax.jit(lambda owned, sides=sides: [jax.value_and_grad(side)(owned) for side in sides])(owned)
        (value, gradient), (target, target_gradient), (gap, gap_gradient) = jax.tree.map(np.asarray, found)
        result[name] = Verification(
            loss=float(value),
            claim=float(target),
            gap=float(gap),
            value_error=float(abs(value - target - gap)),
            gradient_error=_largest(gradient, jax.tree.map(np.add, target_gradient, gap_gradient)),
            cosines={owner: _cosine(gradient[owner], target_gradient[owner]) for owner in player.owns},
        )
    return result


def _constants(part: Part, batch: Batch) -> float:
    return constant_value(part.constants, part.inference, batch)


def _cosine(one: Any, other: Any) -> float:
    first, second = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (one, other))
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / size if size > 0 else float("nan")


def _largest(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    differences = jax.tree.map(lambda a, b: np.max(np.abs(a - b), initial=0), one, other)
    # NumPy's maximum keeps a NaN of any leaf, which Python's max drops.
    return float(np.max([0.0, *map(float, jax.tree.leaves(differences))]))
