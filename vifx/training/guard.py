"""The guard: an update that is not finite is not applied."""

from __future__ import annotations

__all__ = ["Guarded", "blame", "guarded", "sound", "terms"]

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.training.step import Progress, Step, one_update


class Guarded(NamedTuple):
    """The slot of `guarded`.

    Attributes:
      slot: the slot of the step inside.
      skipped: how many updates were not applied, int32.
      consecutive: how many of them since the last applied one, int32.
    """

    slot: PyTree
    skipped: Array
    consecutive: Array


def guarded(step: Step) -> Step:
    """Apply an update only if it is finite; otherwise leave parameters, state and slot as they were.

    An update is finite if each of its metrics is (the gradient norms are among them) and if what
    it would leave behind is sound: see `sound`. The guard goes around all turns of an update.

    Metrics, each int32: ``guard/skipped`` and ``guard/consecutive``, the two counters;
    ``guard/first_bad``, −1 or the index in ``terms(metrics)`` of the first non-finite metric
    (their number, if only the parameters are). `blame` says it in words.

    Raises:
      TypeError: if `step` is not a step.
      ValueError: if the step is scanned.
    """
    one_update(step, "guarded")

    def init(key: Key, params: Params, state: State) -> Guarded:
        return Guarded(step.init(key, params, state), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        slot, skipped, consecutive = progress.slot
        old = progress._replace(slot=slot)
        new, metrics = step.update(key, old, batch)
        finite = [jnp.isfinite(metrics[name]).all() for name in terms(metrics)] + [sound(new)]
        healthy = jnp.stack(finite)
        good = healthy.all()
        kept: Progress = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
        bad = 1 - good.astype(jnp.int32)
        skipped, consecutive = skipped + bad, bad * (consecutive + bad)
        report = {
            "guard/skipped": skipped,
            "guard/consecutive": consecutive,
            "guard/first_bad": jnp.where(good, -1, jnp.argmin(healthy).astype(jnp.int32)),
        }
        return kept._replace(slot=Guarded(kept.slot, skipped, consecutive)), {**metrics, **report}

    return Step(init, update, lambda transform: guarded(step.rebuild(transform)), step.batches)


def sound(progress: Progress) -> Array:
    """Say whether parameters are finite and nothing in state or slot is NaN: a boolean scalar.

    Infinity is allowed in the slot, since some optimizers start a running minimum there.
    """
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(progress.params) if _is_float(leaf)]
    memory = jax.tree.leaves((progress.state, progress.slot))
    number = [~jnp.isnan(leaf).any() for leaf in memory if _is_float(leaf)]
    return jnp.stack([jnp.ones((), bool), *finite, *number]).all()


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def terms(names: Iterable[str]) -> list[str]:
    """Order metric names from cause to effect: terms, their totals, losses, gradient norms.

    The guard's own metrics are left out; within each kind the order is alphabetical.
    """

    def rank(name: str) -> tuple[bool, bool, bool, str]:
        return name.startswith("grad_norm/"), name.startswith("loss/"), "/" not in name, name

    return sorted((name for name in names if not name.startswith("guard/")), key=rank)


def blame(metrics: Mapping[str, Any]) -> str:
    """Say in words, on the host, which metric of one update was not finite first; "" if all were.

    Raises:
      TypeError: if `metrics` is not a mapping.
    """
    require(metrics, Mapping, "blame: metrics", "a mapping from names to values", "give those of one update")
    bad = {name: np.asarray(metrics[name]) for name in terms(metrics)}
    bad = {name: value for name, value in bad.items() if not np.isfinite(value).all()}
    if not bad:
        skipped = int(metrics.get("guard/first_bad", -1)) >= 0
        return "a parameter would not be finite, although every metric is" if skipped else ""
    first, *others = bad
    also = f" (and so are {', '.join(others)})" if others else ""
    return f"{first} is {bad[first]}{also}"
