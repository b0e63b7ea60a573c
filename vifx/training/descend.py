"""Gradient steps: one player's turn, and the usual composition of all turns."""

from __future__ import annotations

__all__ = ["descend", "optimize"]

import warnings
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from vifx.checks import described, require, require_integer, require_name
from vifx.core.objective import Objective, require_objective
from vifx.core.types import Array, Aux, Batch, Key, Loss, Metrics, Params, PyTree, State
from vifx.training.network_names import network_names
from vifx.training.step import Progress, Step
from vifx.training.turns import anchored, in_turn, repeat


def descend(
    objective: Objective, player: str, optimizer: optax.GradientTransformation, *, grad_norm: bool = False
) -> Step:
    """Make one gradient step of one player.

    With θ the parameters of the networks that the player owns, and everything else held fixed,
    ``θ ← θ + optimizer(∇_θ loss(θ))``. The loss's new state is kept, and the player's update
    counter ``state["<player>@updates"]``, where there is one, grows by one.

    An optimizer that takes optax's extra arguments gets the loss's ``value``, its ``grad`` and ``value_fn``, the loss
    as a function of θ on the same minibatch with the same noise: so the line search of ``optax.lbfgs`` and
    ``optax.contrib.reduce_on_plateau`` work. Of ``optax.contrib.schedule_free`` the parameters are those at which
    gradients are taken; `evaluated` returns those to evaluate.

    Metrics: the loss's own, ``loss/<player>`` (nats, mean over examples) and, if `grad_norm` is set,
    ``grad_norm/<player>``: the Euclidean norm over all of θ, before the optimizer. It reads every
    gradient once more, which is 5–8 % of the time of a small step.

    Raises:
      TypeError: if `objective` is not an objective, `optimizer` not an optax optimizer, or one that keeps a
        second copy of the parameters beside them, as ``optax.lookahead`` does.
      ValueError: if the objective has no such player, or, from `init`, if a network that the
        player owns has no parameters entry.
    """
    require_objective(objective, "descend")
    _require_optimizer(optimizer, "descend: optimizer")
    mover = objective.players[require_name(player, objective.players, "player")]
    return _descent(player, mover.owns, mover.loss, optimizer, grad_norm)


def _require_optimizer(optimizer: optax.GradientTransformation, name: str) -> None:
    fix = "give optax.adam(1e-3) say, made but not initialized"
    require(optimizer, optax.GradientTransformation, name, "an optax optimizer", fix)
    if getattr(optimizer.init, "__qualname__", "").startswith("lookahead."):
        raise TypeError(
            f"{name} is optax.lookahead, whose parameters are pairs (LookaheadParams), which no loss takes; wrap the "
            "step of the fast optimizer in training.averaged(step, decay) instead."
        )


def _descent(
    player: str, owns: tuple[str, ...], loss: Loss, optimizer: optax.GradientTransformation, grad_norm: bool
) -> Step:
    extended = isinstance(optimizer, optax.GradientTransformationExtraArgs)

    def init(key: Key, params: Params, state: State) -> PyTree:
        del key, state
        mine = {require_name(name, network_names(params), f"network of player {player!r}") for name in owns}
        return optimizer.init({name: params[name] for name in sorted(mine)})

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        params, state, slot = progress
        mine = {name: params[name] for name in sorted(owns)}

        def value(mine: Params) -> tuple[Array, Aux]:
            return loss(key, {**params, **mine}, state, batch)

        def again(mine: Params) -> Array:
            return loss(jax.random.clone(key), {**params, **mine}, state, batch)[0]  # the same noise, on purpose

        (total, aux), gradient = jax.value_and_grad(value, has_aux=True)(mine)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes; strict users may descend too
            extra = {"value": total, "grad": gradient, "value_fn": again} if extended else {}
            updates, slot = optimizer.update(gradient, slot, mine, **extra)
            moved: PyTree = optax.apply_updates(mine, updates)
        metrics = {**aux.metrics, f"loss/{player}": total}
        if grad_norm:
            metrics[f"grad_norm/{player}"] = _norm(gradient)
        return Progress({**params, **moved}, _advance(player, state, aux.state), slot), metrics

    return Step(init, update, lambda transform: _descent(player, owns, transform(loss), optimizer, grad_norm))


def _norm(tree: PyTree) -> Array:
    squares = [jnp.sum(jnp.square(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def _advance(player: str, old: State, new: State) -> State:
    state = {**old, **{name: new[name] for name in network_names(new)}}
    counter = f"{player}@updates"
    if counter in old:
        state[counter] = old[counter] + jnp.ones_like(old[counter])
    return state


def optimize(
    objective: Objective,
    optimizers: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
    turns: Mapping[str, int] | None = None,
    *,
    updates: Mapping[str, int] | None = None,
    grad_norm: bool = False,
) -> Step:
    """Compose the usual training step: every player descends, in the objective's order.

    ``optimize(objective, optax.adam(1e-3), turns={"critic": 5})`` is
    ``in_turn(repeat(descend(objective, "critic", …), 5), descend(objective, "model", …))``; with
    one player that moves once it is `descend`, nothing more. The turn of a player whose loss reads
    anchors is `anchored`: they are its networks as its turn began.

    Args:
      objective: what to minimize.
      optimizers: one optimizer for every player, or one for each by name.
      turns: how many minibatches a player sees in its turn; 1 for a player that is not named.
      updates: how many updates it makes on each of them, with the same noise; 1 for a player that
        is not named.
      grad_norm: whether the norms of the gradients are among the metrics.

    Raises:
      ValueError: if a name in `optimizers`, `turns` or `updates` is not a player, a number of them is not positive,
        or a player has no optimizer.
      TypeError: if `objective` is not an objective, `optimizers` neither an optimizer nor a mapping to optimizers, or a
        number no integer.

    Warns:
      UserWarning: if a player makes one update a turn and a term of its loss needs two to act.
    """
    require_objective(objective, "optimize")
    players, turns, updates = objective.players, turns or {}, updates or {}
    for argument, numbers in (("turns", turns), ("updates", updates)):
        fix = f"write {argument}={{{next(iter(players))!r}: 2}}"
        require(numbers, Mapping, f"optimize: {argument}", "a mapping from player to a number", fix)
        for name, number in numbers.items():
            require_integer(number, f"optimize: {argument}[{name!r}]")
    if isinstance(optimizers, optax.GradientTransformation):
        optimizers = dict.fromkeys(players, optimizers)
    if not isinstance(optimizers, Mapping):
        raise TypeError(
            "optimize: optimizers must be an optax optimizer, such as optax.adam(1e-3), or a mapping from player to "
            f"one, got {described(optimizers)}"
        )
    for name in (*optimizers, *turns, *updates):
        require_name(name, players, "player")
    if missing := [player for player in players if player not in optimizers]:
        raise ValueError(
            f"every player needs an optimizer: none is given for {missing}; add optimizers[{missing[0]!r}]"
        )
    steps = []
    for player in players:
        step = descend(objective, player, optimizers[player], grad_norm=grad_norm)
        steps.append(_turn(objective, player, step, turns.get(player, 1), updates.get(player, 1)))
    return steps[0] if len(steps) == 1 else in_turn(*steps)


def _turn(objective: Objective, player: str, step: Step, turns: int, updates: int) -> Step:
    mover = objective.players[player]
    if updates != 1:
        step = repeat(step, updates, fresh=False)
    if turns != 1:
        step = repeat(step, turns)
    if turns * updates < mover.least_updates:
        warnings.warn(
            f"player {player!r} makes one update a turn, at which the gradient of its proximal term is exactly "
            f"zero; give turns or updates {{{player!r}: {mover.least_updates}}} or more.",
            stacklevel=3,
        )
    return anchored(step, mover.anchors) if mover.anchors else step
