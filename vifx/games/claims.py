"""The claims of the adversarial estimators, enumerated: both sides as tables on a finite space.

Nothing here is shared with the losses but the critic itself and, for the games that are not the labelled KL, the two
functions that define them: the sides are evaluated by `Joint.log_prob` on the product of their supports and
summed over what the critic does not see.
"""

from __future__ import annotations

__all__ = ["enumerated_critic", "enumerated_gap", "enumerated_marginals", "enumerated_model"]

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.factor import Factor
from vifx.core.types import Array, Batch, Networks, Params, State
from vifx.games.compared import Side, Sides, logits
from vifx.games.game import Game, Pieces
from vifx.verification import enumeration

_Supports = dict[str, np.ndarray]


class _Points(NamedTuple):
    """Both marginals on the product of the supports of the compared variables.

    Attributes:
      a: probabilities of A, ``[points]``.
      b: probabilities of B, ``[points]``.
      logit: the critic's output, ``[points]``.
    """

    a: Array
    b: Array
    logit: Array


def enumerated_critic(
    both: Sides, critic: Factor, critic_game: Game, params: Params, state: State, batch: Batch
) -> Array:
    """Return what the critic minimizes, summed over all points, in nats.

    For the labelled KL it is ``2 [KL(r ‖ t) − (1−π) KL(B ‖ A) + H(y)]`` of equation (5), in which KL(B ‖ A)
    cancels; for the others the expectations of the game's two functions.
    """
    points = _points(both, critic, params, state, batch)
    if critic_game.name != "labelled_kl":
        return _expected(critic_game, critic_game.critic, points, a_counts=True)
    log_critic, log_other = _log_critic(critic_game, points.logit)
    prior = critic_game.label_prior
    return -2 * (prior * jnp.sum(points.a * log_critic) + (1 - prior) * jnp.sum(points.b * log_other))


def enumerated_model(
    both: Sides,
    critic: Factor,
    played: Game,
    form: str,
    proximal: Array,
    params: Params,
    state: State,
    batch: Batch,
) -> Array:
    """Return what the model's form claims to be, summed over all points, in nats.

    ``"full"`` and ``"truncated"`` both claim equations (6) and (8), ``2π E_A[−log D] + 2(1−π) {E_B[−log D] +
    KL(B ‖ B°) + E_B log A°/A}`` (the first term only if A moves), with the parameters of today in the
    place of a missing anchor; A and B are marginals on the compared variables. The others claim their own two
    functions; a proximal term adds ``λ KL(B ‖ B°)`` over all variables of B, the right side of equation (7).

    Args:
      params: one entry per owner, the critic's, and the anchors.
    """
    points = _points(both, critic, params, state, batch)
    moves = both.a.moves
    anchored = {**params, **{owner: _anchor(params, owner) for owner in both.owners}}
    if form not in ("full", "truncated"):
        value = _expected(played, played.forms[form], points, a_counts=moves)
        return value + proximal * _kl_to_anchor(both, params, anchored, state, batch)
    log_critic, _ = _log_critic(played, points.logit)
    prior = played.label_prior
    of_b = -jnp.sum(points.b * log_critic) + _kl_of_marginals(both, params, anchored, state, batch)
    value = 2 * (1 - prior) * of_b + proximal * _kl_to_anchor(both, params, anchored, state, batch)
    if not moves:
        return value
    value = value - 2 * prior * jnp.sum(points.a * log_critic)
    return value + 2 * (1 - prior) * _log_ratio(both, params, anchored, state, batch)


def enumerated_gap(both: Sides, played: Game, params: Params, state: State, batch: Batch) -> Array:
    """Return how far the form "full" lies above its claim, in nats: it takes KL(B ‖ B°) over all variables of B.

    ``2(1−π) {KL(B(s, h) ‖ B°(s, h)) − KL(B(s) ‖ B°(s))} ≥ 0`` with s the compared variables and h the others.
    """
    anchored = {**params, **{owner: _anchor(params, owner) for owner in both.owners}}
    whole, seen = (kl(both, params, anchored, state, batch) for kl in (_kl_to_anchor, _kl_of_marginals))
    return 2 * (1 - played.label_prior) * (whole - seen)


def _anchor(params: Params, owner: str) -> object:
    return params.get(f"{owner}@anchor", jax.lax.stop_gradient(params[owner]))


def _log_critic(played: Game, logit: Array) -> tuple[Array, Array]:
    """Return log D and log(1 − D) by their definition, ``D = π e^ℓ / (π e^ℓ + 1 − π)``."""
    odds = played.label_prior * jnp.exp(logit)
    total = odds + 1 - played.label_prior
    return jnp.log(odds / total), jnp.log((1 - played.label_prior) / total)


def _expected(played: Game, pieces: Pieces, points: _Points, *, a_counts: bool) -> Array:
    if played.paired:
        difference = points.logit[:, None] - points.logit[None]
        return jnp.sum(points.a[:, None] * points.b[None] * pieces.at_b(difference))
    value = jnp.sum(points.b * pieces.at_b(points.logit))
    return value + jnp.sum(points.a * pieces.at_a(points.logit)) if a_counts else value


def enumerated_marginals(
    both: Sides, params: Params, state: State, batch: Batch
) -> tuple[dict[str, Array], Array, Array]:
    """Return the product of the supports of the compared variables, and the probabilities of A and B there.

    Returns:
      The values by variable, and two arrays of probabilities, each ``[points]``.
    """
    supports = _supports(both, params, state, batch)
    grid = np.meshgrid(*(supports[name] for name in both.on), indexing="ij")
    values = {name: jnp.asarray(axis.reshape(-1)) for name, axis in zip(both.on, grid, strict=True)}
    a, b = (_marginal(side, both.on, params, state, batch, supports) for side in both[:2])
    return values, a, b


def _points(both: Sides, critic: Factor, params: Params, state: State, batch: Batch) -> _Points:
    values, a, b = enumerated_marginals(both, params, state, batch)
    logit, _ = logits(None, critic, Networks(params, state), values)
    return _Points(a, b, logit)


def _supports(both: Sides, params: Params, state: State, batch: Batch) -> _Supports:
    """Return the states of every variable, those of both sides where both have it."""
    found: _Supports = {}
    for side in both[:2]:
        for name, states in enumeration.supports_of(side.joint, params, state, batch).items():
            found[name] = np.union1d(found[name], states) if name in found else states
    return found


def _table(side: Side, params: Params, state: State, batch: Batch, supports: _Supports) -> enumeration.Table:
    own = enumeration.supports_of(side.joint, params, state, batch)
    for name, states in own.items():
        beyond = np.setdiff1d(supports[name], states)
        if beyond.size and side.joint.factor_of(name).kind != "evidence":
            raise ValueError(
                f"{name!r} takes the value {beyond[0]} on the other side, but {side.joint.factor_of(name)} has no such "
                "state; give both the same states."
            )
    return enumeration.table(side.joint, params, state, batch, {name: supports[name] for name in own})


def _marginal(
    side: Side, names: tuple[str, ...], params: Params, state: State, batch: Batch, supports: _Supports
) -> Array:
    """Return probabilities on the product of the supports of `names`, ``[points]``."""
    found = _table(side, params, state, batch, supports)
    order = tuple(found.values)
    joint = jnp.exp(found.total).reshape([len(supports[name]) for name in order])
    summed = jnp.sum(joint, axis=tuple(i for i, name in enumerate(order) if name not in names))
    kept = [name for name in order if name in names]
    return jnp.transpose(summed, [kept.index(name) for name in names]).reshape(-1)


def _kl_to_anchor(both: Sides, params: Params, anchored: Mapping[str, object], state: State, batch: Batch) -> Array:
    """Return KL(B ‖ B°) over all variables of B, in nats."""
    supports = _supports(both, params, state, batch)
    now, before = (_table(both.b, each, state, batch, supports).total for each in (params, anchored))
    return enumeration.expectation(now, now - before)


def _kl_of_marginals(both: Sides, params: Params, anchored: Mapping[str, object], state: State, batch: Batch) -> Array:
    """Return KL(B ‖ B°) on the compared variables alone, in nats."""
    supports = _supports(both, params, state, batch)
    now, before = (jnp.log(_marginal(both.b, both.on, each, state, batch, supports)) for each in (params, anchored))
    return enumeration.expectation(now, now - before)


def _log_ratio(both: Sides, params: Params, anchored: Mapping[str, object], state: State, batch: Batch) -> Array:
    """Return ``E_B log A°/A`` over the variables of A, in nats; the evidence, which both have, cancels."""
    supports = _supports(both, params, state, batch)
    names = both.a.joint.variables
    if any(name not in both.on for name in names):
        raise ValueError(f"the last term of equation (8) needs a critic that sees every variable of {both.a.joint}.")
    ratio = jnp.zeros(())
    weight = _marginal(both.b, names, params, state, batch, supports)
    now, before = (_table(both.a, each, state, batch, supports).log_prob for each in (params, anchored))
    for item in both.a.joint.factors:
        if item.owner is not None:
            ratio = ratio + jnp.sum(weight * (before[item.name] - now[item.name]))
    return ratio
