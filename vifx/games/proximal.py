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

__all__ = ["anchor_distance", "log_ratio_to_anchor"]

import jax
import jax.numpy as jnp

from vifx.core.conditional import condition, density, fold
from vifx.core.factor import Factor
from vifx.core.types import Array, Key, Networks
from vifx.distributions import PointMass
from vifx.distributions.kl_estimates import estimate
from vifx.games.compared import Drawn, Side
from vifx.variational.walk import mean


def _anchored(networks: Networks, owner: str, item: Factor) -> Networks:
    """Return the networks with one of them as its anchor has it."""
    anchor = f"{owner}@anchor"
    if anchor not in networks.params:
        raise ValueError(
            f"params lacks {anchor!r}, which the loss compares {item} with; make the turn of the player a phase: "
            f"training.anchored(step, {owner!r}), as training.optimize does by itself."
        )
    return networks._replace(params={owner: networks.params[anchor]})


def anchor_distance(key: Key, side: Side, drawn: Drawn, networks: Networks) -> Array:
    """Return ``Σ_v E KL(B(v|pa) ‖ B°(v|pa))`` in nats; of deterministic maps of D elements, ``E ‖G − G°‖²/D``.

    Args:
      key: as for the walk that drew the side, so that networks see the same noise.

    Raises:
      ValueError: an anchor is missing.
    """
    total = jnp.zeros((), jnp.result_type(float))
    for visit in drawn.visits:
        item = visit.factor
        if item.owner is None:
            continue
        rows = visit.before
        frozen = _anchored(networks, item.owner, item)
        network = fold(key, side.role, item.name, "network")
        anchor, _ = condition(network, item, frozen, rows.values, rows.total)
        if isinstance(visit.conditional, PointMass):
            squares = jnp.square(visit.conditional.value - anchor.value)
            total = total + mean(rows, jnp.mean(squares.reshape(rows.total, -1), axis=1))
            continue
        found = estimate(visit.conditional, anchor)
        if found is not None and not found.sampled:
            total = total + mean(rows, jnp.broadcast_to(found.value(network), (rows.total,)))
            continue
        after = visit.after
        fixed = networks._replace(params=jax.lax.stop_gradient({item.owner: networks.params[item.owner]}))
        model, _ = condition(network, item, fixed, rows.values, rows.total)
        log_anchor = density(item, anchor, after.values[item.variables[0]], rows.total)
        log_prob = density(item, model, after.values[item.variables[0]], rows.total)
        total = total + mean(after, log_prob - log_anchor)
    return total


def log_ratio_to_anchor(key: Key, side: Side, drawn: Drawn, networks: Networks) -> Array:
    """Return ``E log A°(s)/A(s)`` in nats at the rows of another side, the last term of equation (8).

    Raises:
      ValueError: an anchor is missing.
    """
    rows = drawn.rows
    total = jnp.zeros((), jnp.result_type(float))
    for item in side.joint.factors:
        if item.owner is None:
            continue
        log_probs = []
        for each in (_anchored(networks, item.owner, item), networks):
            conditional, _ = condition(fold(key, side.role, item.name, "network"), item, each, rows.values, rows.total)
            log_probs.append(density(item, conditional, rows.values[item.variables[0]], rows.total))
        total = total + mean(rows, log_probs[0] - log_probs[1])
    return total
