"""What a phase is measured against: the distance of a side from its anchor, equations (6)–(8).

The anchor q° is the model as it was at the start of the phase, ``params["<network>@anchor"]``. With one factor
after another, the chain rule gives ``KL(B ‖ B°) = Σ_v E_B KL(B(v|pa) ‖ B°(v|pa))`` over the factors with
parameters. A factor with a density contributes that, in closed form where its family has one; a
deterministic map of D elements, read as a Gaussian of small variance, contributes ``‖G − G°‖²/D``, equation (7).
Without a closed form the log ratio is averaged over the draws, its gradient without the score
``∂ log B(v|pa; θ)/∂θ``, whose expectation is zero. So at the start of a phase all of them are zero, and so are
their gradients, draw by draw.

Reference: Roeder et al. (2017), arXiv:1703.09194, of the gradient without the score.
"""

from __future__ import annotations

__all__ = ["anchor_distance", "anchored_params", "log_ratio_to_anchor"]

import jax
import jax.numpy as jnp

from vifx.core.conditional import condition, density, fold
from vifx.core.factor import Factor
from vifx.core.types import Array, Key, Params, State
from vifx.distributions import PointMass
from vifx.games.compared import Drawn, Side
from vifx.variational.estimates import estimate
from vifx.variational.walk import mean


def anchored_params(params: Params, owner: str, item: Factor) -> Params:
    """Return the parameters of a network as its anchor has them, under the network's name.

    Raises:
      ValueError: there is no anchor.
    """
    anchor = f"{owner}@anchor"
    if anchor not in params:
        raise ValueError(
            f"params lacks {anchor!r}, which the loss compares {item} with; make the turn of the player a phase: "
            f"training.anchored(step, {owner!r}), as training.optimize does by itself."
        )
    return {owner: params[anchor]}


def anchor_distance(key: Key, side: Side, drawn: Drawn, params: Params, state: State, *, train: bool) -> Array:
    """Return ``Σ_v E KL(B(v|pa) ‖ B°(v|pa))`` in nats; of deterministic maps of D elements, ``E ‖G − G°‖²/D``.

    Args:
      key: as for the walk that drew the side, so that networks see the same noise.
      side: B.
      drawn: its rows.
      params: with anchors.
      state: as before the walk; not changed.
      train: the mode of the networks.

    Raises:
      ValueError: an anchor is missing.
    """
    total = jnp.zeros((), jnp.result_type(float))
    for visit in drawn.visits:
        item = visit.factor
        if item.owner is None:
            continue
        rows = visit.before
        frozen = anchored_params(params, item.owner, item)
        network = fold(key, side.role, item.name, "network")
        anchor, _ = condition(network, item, frozen, state, rows.values, rows.total, train=train)
        if isinstance(visit.conditional, PointMass):
            squares = jnp.square(visit.conditional.value - anchor.value)
            total = total + mean(rows, jnp.mean(squares.reshape(rows.total, -1), axis=1))
            continue
        found = estimate(visit.conditional, anchor)
        if found is not None and not found.sampled:
            total = total + mean(rows, jnp.broadcast_to(found.value(network), (rows.total,)))
            continue
        after = visit.after
        fixed = jax.lax.stop_gradient({item.owner: params[item.owner]})
        model, _ = condition(network, item, fixed, state, rows.values, rows.total, train=train)
        log_anchor = density(item, anchor, after.values[item.variables[0]], rows.total)
        log_prob = density(item, model, after.values[item.variables[0]], rows.total)
        total = total + mean(after, log_prob - log_anchor)
    return total


def log_ratio_to_anchor(key: Key, side: Side, drawn: Drawn, params: Params, state: State, *, train: bool) -> Array:
    """Return ``E log A°(s)/A(s)`` in nats at the rows of another side, the last term of equation (8).

    Args:
      key: folded per factor name.
      side: A, whose factors are evaluated.
      drawn: rows of B that hold every variable of A.
      params: with anchors.
      state: not changed.
      train: the mode of the networks.

    Raises:
      ValueError: an anchor is missing.
    """
    rows = drawn.rows
    total = jnp.zeros((), jnp.result_type(float))
    for item in side.joint.factors:
        if item.owner is None:
            continue
        log_probs = []
        for each in (anchored_params(params, item.owner, item), params):
            network = fold(key, side.role, item.name, "network")
            conditional, _ = condition(network, item, each, state, rows.values, rows.total, train=train)
            log_probs.append(density(item, conditional, rows.values[item.variables[0]], rows.total))
        total = total + mean(rows, log_probs[0] - log_probs[1])
    return total
