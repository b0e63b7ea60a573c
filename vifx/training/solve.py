"""Closed-form turns: an E step over chunks and devices, then the best parameters, at once or step by step."""

from __future__ import annotations

__all__ = ["cappe_moulines", "solve"]

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from vifx.checks import require_batch, require_function, require_integer, require_name, require_number
from vifx.core.objective import Objective, Player, require_objective
from vifx.core.turn import Expected, Solver
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.training.monotone import rounding
from vifx.training.sharding import check_divides, example_axes, padded, require_mesh
from vifx.training.step import LossTransform, Progress, Step

EMPTY = 1e-3
"""A state of a latent that is expected less often than this, in examples, counts as empty."""


def solve(
    objective: Objective,
    player: str,
    *,
    networks: Sequence[str] | None = None,
    chunk: int | None = None,
    rate: Callable[[Array], ArrayLike] | None = None,
    examples: int | None = None,
    like: Batch | None = None,
    mesh: Mesh | None = None,
) -> Step:
    """Make one closed-form turn of one player: an E step on the batch, then an M step.

    With θ° the parameters before the turn, the E step takes the expectation of the sufficient statistics under the
    exact posterior, ``s = Σ_n Σ_z p(z|x_n; θ°) φ(x_n, z)``, and the M step the parameters
    ``argmax_θ Σ_n E_p log q(x_n, z; θ) + log prior(θ)`` in closed form. On a batch that is the whole data set this is
    EM, of which the objective never falls. On minibatches give a `rate`: stepwise EM,
    ``s ← (1 − η_t) s + η_t s(minibatch)``.

    Weights of examples (``batch["@weights"]``) are those of every loss; priors of parameters belong to this turn, and
    `descend` on the same objective does not know them. Sums over chunks are compensated, so that in float32 the error
    of a sum does not grow with the number of examples.

    Metrics, in nats, of the parameters *before* the update: ``log_prob``, the mean over the examples of log q(x) (at
    another temperature of the posterior its own objective, ``T log Σ_z q(x, z)^(1/T)``); ``objective``, the same plus
    ``log prior / examples``: what never falls; ``rounding/objective``, by how much it may all the same, by rounding
    alone (`rounding`); for each latent z ``smallest/z``, the smallest expected share of a
    state, and ``empty/z``, how many states are expected less than a thousandth of an example.

    Args:
      objective: `kl` of evidence and exact posteriors against a joint with families.
      player: whose turn.
      networks: which to move; all that it owns by default, which must then all be families.
      chunk: how many examples at a time; all at once by default. Memory is that of a chunk's table of states.
      rate: η_t in (0, 1] as a function of the number of turns made, such as `cappe_moulines()`; the first minibatch
        counts whole.
      examples: with a `rate`, how many examples the data set has; the statistics are scaled to as many, which
        matters where parameters have priors. That of the minibatch by default.
      like: with a `rate`, a batch whose shapes the statistics follow; needed where the generative joint cannot be
        sampled by itself, because it has evidence or a multinomial without trials.
      mesh: its devices divide the examples, behind which rows of weight zero come if they do not divide; each
        device scans its own chunks.

    Raises:
      TypeError: if an argument is of another kind.
      ValueError: if the objective has no such player, the player's turn has no closed form, a network is no
        family, or a number is not positive.
    """
    require_objective(objective, "solve")
    mover = objective.players[require_name(player, objective.players, "player")]
    closed = _closed(player, mover)
    moved = _moved(player, closed, networks)
    for name, number in (("chunk", chunk), ("examples", examples)):
        if number is not None:
            require_integer(number, f"solve: {name}")
    if rate is not None:
        require_function(rate, "solve: rate", "of the number of turns, such as training.cappe_moulines()")
    if like is not None:
        require_batch(like, name="solve: like")
    if mesh is not None:
        mesh = require_mesh(mesh, "solve")

    def init(key: Key, params: Params, state: State) -> PyTree:
        if rate is None:
            return ()
        batch = _blank(objective, key, params, state) if like is None else like
        prepared = closed.prepare(params, state)
        expected = jax.eval_shape(partial(_expect, closed, None, None), key, params, state, prepared, batch)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), expected.statistics)
        return zeros, jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.int32)

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        params, state, slot = progress
        prepared = closed.prepare(params, state)
        expected = _expect(closed, chunk, mesh, key, params, state, prepared, batch)
        statistics = expected.statistics
        if rate is not None:
            statistics, slot = _stepwise(rate, examples, expected, slot)
        metrics = _metrics(closed, params, state, prepared, expected)
        params = closed.maximize(params, state, statistics, moved)
        return Progress(params, _advance(player, state), slot), metrics

    def rebuild(transform: LossTransform) -> Step:
        del transform  # there is no loss to differentiate
        return step

    step = Step(init, update, rebuild)
    return step


def _blank(objective: Objective, key: Key, params: Params, state: State) -> Batch:
    """Return an example of zeros, of the shapes that the generative joint draws."""
    part = objective.parts[0]
    shapes = jax.eval_shape(lambda: part.generative.sample(key, params, state, examples=1).values)
    entries = {variable: entry for item in part.inference.factors for variable, entry in item.entries.items()}
    return {entry: jnp.zeros(shapes[name].shape, shapes[name].dtype) for name, entry in entries.items()}


def cappe_moulines(*, exponent: float = 0.7, offset: float = 2.0) -> Callable[[Array], Array]:
    """Return the rate ``η_t = (t + offset)^(−exponent)`` of stepwise EM.

    Args:
      exponent: in (½, 1], for which stepwise EM converges.
      offset: at least 1; larger ones make early minibatches count less.

    Raises:
      ValueError: if a number is out of range.

    References:
      Cappé & Moulines (2009), On-line EM algorithm for latent data models; Liang & Klein (2009).
    """
    require_number(exponent, "exponent", above=0.5, most=1, hint="there stepwise EM converges")
    require_number(offset, "offset", least=1)
    return lambda t: (jnp.asarray(t).astype(jnp.result_type(float)) + offset) ** -exponent


def _closed(player: str, mover: Player) -> Solver:
    if mover.solver is None:
        raise ValueError(
            f"player {player!r} has no closed-form turn: solve needs kl(Joint(evidence(...), exact_posterior(...)), "
            "generative) without weights, posteriors given everything known, and a generative joint of families "
            "(vifx.em), whose parents are latents and which share no parameters; use "
            f"descend(objective, {player!r}, optimizer)"
        )
    return mover.solver


def _moved(player: str, closed: Solver, networks: Sequence[str] | None) -> tuple[str, ...]:
    if networks is None:
        if closed.others:
            raise ValueError(
                f"{closed.others[0]!r}, which player {player!r} owns, is not a family, so its turn has no closed form; "
                f"solve for the others with networks={closed.networks!r}, and use descend for this one"
            )
        return closed.networks
    if isinstance(networks, str) or not networks:
        raise ValueError(f"networks must be names, such as {closed.networks!r}, got {networks!r}")
    return tuple(require_name(name, closed.networks, "family to solve for") for name in networks)


def _expect(
    closed: Solver,
    chunk: int | None,
    mesh: Mesh | None,
    key: Key,
    params: Params,
    state: State,
    prepared: PyTree,
    batch: Batch,
) -> Expected:
    if mesh is None:
        return _chunked(closed, chunk, key, params, state, prepared, batch)
    batch, axes = padded(batch, mesh), example_axes(mesh)
    check_divides(batch, mesh)

    def here(everywhere: Any, batch: Batch) -> Expected:
        key, params, state, prepared = everywhere
        return jax.lax.psum(_chunked(closed, chunk, key, params, state, prepared, batch), axes)

    divided = jax.tree.map(lambda _: PartitionSpec(axes), dict(batch))
    run = jax.shard_map(
        here, mesh=mesh, in_specs=(PartitionSpec(), divided), out_specs=PartitionSpec(), check_vma=False
    )
    return run((key, dict(params), dict(state), prepared), dict(batch))


def _chunked(
    closed: Solver, chunk: int | None, key: Key, params: Params, state: State, prepared: PyTree, batch: Batch
) -> Expected:
    """Add up the expected statistics of chunks of a batch, compensated (Kahan, 1965)."""
    total = jax.tree.leaves(batch)[0].shape[0]
    if chunk is None or chunk >= total:
        return closed.expect(key, params, state, prepared, batch)

    def part(start: Array | int, size: int) -> Expected:
        sliced = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), dict(batch))
        return closed.expect(key, params, state, prepared, sliced)

    def add(carry: tuple[Expected, Expected], i: Array) -> tuple[tuple[Expected, Expected], None]:
        return _compensated(carry, part(i * chunk, chunk)), None

    rest = total % chunk
    first = part(total - rest, rest) if rest else part(0, chunk)
    zeros = jax.tree.map(jnp.zeros_like, first)
    (sums, _), _ = jax.lax.scan(add, (first, zeros), jnp.arange(0 if rest else 1, total // chunk))
    return sums


def _compensated(carry: tuple[Expected, Expected], more: Expected) -> tuple[Expected, Expected]:
    sums, lost = carry
    corrected = jax.tree.map(jnp.subtract, more, lost)
    new = jax.tree.map(jnp.add, sums, corrected)

    def rounded(after: Array, before: Array, added: Array) -> Array:
        # What is infinite has lost nothing.
        return jnp.where(jnp.isfinite(after), (after - before) - added, 0)

    return new, jax.tree.map(rounded, new, sums, corrected)


def _stepwise(
    rate: Callable[[Array], ArrayLike], examples: int | None, expected: Expected, slot: PyTree
) -> tuple[PyTree, PyTree]:
    """Mix the statistics of a minibatch, per example, into those so far."""
    mixed, weight, turns = slot
    # A minibatch without weight says nothing, and the first one that does counts whole.
    eta = jnp.where(expected.weight > 0, jnp.asarray(rate(turns), weight.dtype), 0)
    whole = jnp.where(expected.weight > 0, expected.weight, 1)

    def mix(old: Array, new: Array) -> Array:
        share = eta.astype(old.dtype)
        return (1 - share) * old + share * new / whole.astype(old.dtype)

    mixed = jax.tree.map(mix, mixed, expected.statistics)
    weight = (1 - eta) * weight + eta
    size = expected.weight if examples is None else jnp.asarray(examples, expected.weight.dtype)
    # Divided by the weights so far, the first minibatch counts whole, whatever its rate.
    so_far = jnp.where(weight > 0, weight, 1).astype(size.dtype)
    scaled = jax.tree.map(lambda leaf: leaf * (size / so_far).astype(leaf.dtype), mixed)
    return scaled, (mixed, weight, turns + 1)


def _metrics(closed: Solver, params: Params, state: State, prepared: PyTree, expected: Expected) -> dict[str, Array]:
    log_prob = expected.log_prob / expected.weight
    objective = log_prob + closed.log_prior(params, state).astype(log_prob.dtype) / expected.weight
    # A sequence has an observation at every step of its latent.
    steps = jnp.max(jnp.stack([jnp.sum(counts) for counts in expected.counts.values()] + [expected.weight]))
    cancelled = closed.magnitude(prepared, expected.statistics).astype(log_prob.dtype)
    error = rounding(objective, observations=steps / expected.weight, cancelled=cancelled / expected.weight)
    metrics = {"log_prob": log_prob, "objective": objective, "rounding/objective": error}
    for latent, counts in expected.counts.items():
        metrics[f"smallest/{latent}"] = jnp.min(counts) / expected.weight
        metrics[f"empty/{latent}"] = jnp.sum(counts < EMPTY).astype(jnp.int32)
    return metrics


def _advance(player: str, state: State) -> State:
    counter = f"{player}@updates"
    return {**state, counter: state[counter] + jnp.ones_like(state[counter])} if counter in state else state
