"""Turns: alternation, repetition and anchoring of the steps of players."""

from __future__ import annotations

__all__ = ["anchored", "in_turn", "repeat"]

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vifx.checks import require_batch, require_integer, require_name
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.loops import scan
from vifx.training.network_names import network_names
from vifx.training.reduce import mean_metrics
from vifx.training.step import Progress, Step, one_update


def in_turn(*steps: Step) -> Step:
    """Let players alternate: each step starts from what the one before it left.

    They share the minibatches: the whole takes as many as the turn that needs most, and each
    turn takes the first ones. Turn i has the key ``fold_in(key, i)``. Where two turns report a
    metric of the same name, the later one's is kept.

    Raises:
      TypeError: if something is not a step.
      ValueError: if there is no step, if one is scanned, or, when it is traced, if one is
        guarded: the guard goes around all turns, so that none is applied without the others.
    """
    if not steps:
        raise ValueError("in_turn needs at least one step, got none")
    for step in steps:
        one_update(step, "in_turn")
    batches = max(step.batches for step in steps)

    def init(key: Key, params: Params, state: State) -> tuple[PyTree, ...]:
        return tuple(step.init(jax.random.fold_in(key, i), params, state) for i, step in enumerate(steps))

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        params, state, slots = progress
        require_batch(batch, minibatches=batches)
        metrics, new_slots = {}, []
        for i, (step, slot) in enumerate(zip(steps, slots, strict=True)):
            share = _first(batch, batches, step.batches)
            turn = Progress(params, state, slot)
            (params, state, slot), reported = step.update(jax.random.fold_in(key, i), turn, share)
            if "guard/skipped" in reported:
                raise ValueError("in_turn cannot hold a guarded step; write guarded(in_turn(...)) instead")
            metrics, new_slots = {**metrics, **reported}, [*new_slots, slot]
        return Progress(params, state, tuple(new_slots)), metrics

    return Step(init, update, lambda transform: in_turn(*(step.rebuild(transform) for step in steps)), batches)


def _first(batch: Batch, batches: int, needed: int) -> Batch:
    if batches == needed:
        return batch
    return {name: value[0] if needed == 1 else value[:needed] for name, value in batch.items()}


def repeat(step: Step, times: int, *, fresh: bool = True) -> Step:
    """Make a step `times` times in a row, in one compiled loop.

    Fresh repetitions each take their own minibatches and key ``fold_in(key, i)``. With
    ``fresh=False`` all of them see the same minibatches *and the same key*: the same noise, so
    that two generator updates move the same latents. Metrics are averaged over the repetitions
    (integers: the largest).

    Raises:
      TypeError: if `step` is not a step, or `times` not an integer.
      ValueError: if `times` is not positive, or the step is scanned.
    """
    one_update(step, "repeat")
    require_integer(times, "repeat: times")
    batches = times * step.batches if fresh else step.batches

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        require_batch(batch, minibatches=batches)
        shares = _split(batch, times, step.batches) if fresh else None

        def once(progress: Progress, turn: tuple[Array, Batch | None]) -> tuple[Progress, Metrics]:
            i, share = turn
            if share is None:
                return step.update(jax.random.clone(key), progress, batch)  # the same noise, on purpose
            return step.update(jax.random.fold_in(key, i), progress, share)

        progress, metrics = scan(once, progress, (jnp.arange(times), shares))
        return progress, mean_metrics(metrics)

    return Step(step.init, update, lambda transform: repeat(step.rebuild(transform), times, fresh=fresh), batches)


def _split(batch: Batch, times: int, batches: int) -> Batch:
    if times == 1 and batches == 1:
        return {name: value[None] for name, value in batch.items()}
    if batches == 1:
        return batch
    return {name: value.reshape(times, batches, *value.shape[1:]) for name, value in batch.items()}


def anchored(step: Step, networks: str | Sequence[str]) -> Step:
    """Freeze networks as they are when the step begins: its losses find them as ``"<network>@anchor"``.

    A phase is one call of `step`: in ``anchored(repeat(step, n), …)`` the anchor q° is the value
    before the first of the n updates and stays it throughout. No player owns an anchor, so no
    gradient reaches it. The entries are in `params` during the step only.

    Raises:
      ValueError: if no network is named, the step is scanned, or, from `init`, a network does not exist; when
        traced, if a network is anchored already by a step around this one.
    """
    names = tuple(networks) if isinstance(networks, Sequence) and not isinstance(networks, str) else (networks,)
    one_update(step, "anchored")
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"anchored: networks must be the name of a network, or several, got {networks!r}")
    anchors = {f"{name}@anchor": name for name in names}

    def init(key: Key, params: Params, state: State) -> PyTree:
        for name in names:
            require_name(name, network_names(params), "network to anchor")
        return step.init(key, params, state)

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        params = progress.params
        if nested := [anchor for anchor in anchors if anchor in params]:
            raise ValueError(f"{anchors[nested[0]]!r} is anchored twice; keep one of the two anchored(...)")
        frozen = {anchor: params[name] for anchor, name in anchors.items()}
        progress, metrics = step.update(key, progress._replace(params={**params, **frozen}), batch)
        kept = {name: value for name, value in progress.params.items() if name not in anchors}
        return progress._replace(params=kept), metrics

    return Step(init, update, lambda transform: anchored(step.rebuild(transform), names), step.batches)
